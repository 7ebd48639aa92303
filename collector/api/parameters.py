"""Parameters of the HTTP API: what each one is called, may be and means, and how it is read from a request."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# The year 2100: later is a unit mixed up.
LATEST_MS: Final = 4_102_444_800_000
INT64: Final = 2**63 - 1


class BadParameter(ValueError):
    """A parameter has a value that it cannot have; the text says which and what it may be."""


@dataclass(frozen=True)
class Parameter:
    """One parameter. `kind` is number, integer or string; bounds are included."""

    name: str
    description: str
    kind: str = "string"
    where: str = "query"
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    longest: int = 1000

    def read(self, text: str) -> str | float | int:
        """Return the value, or raise BadParameter."""
        if self.kind == "string":
            return self._read_text(text)
        try:
            if not re.fullmatch(r"[-+]?[0-9]+" if self.kind == "integer" else r"[-+0-9.eE]+", text):
                raise ValueError(text)
            number = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            raise BadParameter(f"{self.name} must be {self._kind_in_words()}, not {text[:50]!r}") from None
        is_low = self.minimum is not None and number < self.minimum
        is_high = self.maximum is not None and number > self.maximum
        if is_low or is_high or math.isnan(number):
            raise BadParameter(f"{self.name} must be between {self.minimum} and {self.maximum}, not {text[:50]}")
        return number

    def _read_text(self, text: str) -> str:
        if not text or len(text) > self.longest:
            raise BadParameter(f"{self.name} must have between 1 and {self.longest} characters")
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise BadParameter(f"{self.name} must be text without null characters")
        if self.choices and text not in self.choices:
            raise BadParameter(f"{self.name} must be one of {', '.join(self.choices)}; not {text[:50]!r}")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise BadParameter(f"{self.name} must look like {self.pattern}; not {text[:50]!r}")
        return text

    def schema(self) -> dict[str, Any]:
        """The parameter as OpenAPI 3.1 describes it."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.kind == "string":
            schema |= {"minLength": 1, "maxLength": self.longest}
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.pattern:
            schema["pattern"] = f"^{self.pattern}$"
        if self.choices:
            schema = {"type": "string", "enum": list(self.choices)}
        return {
            "name": self.name,
            "in": self.where,
            "required": self.where == "path",
            "description": self.description,
            "schema": schema,
        }

    def _kind_in_words(self) -> str:
        return "a whole number" if self.kind == "integer" else "a number"


def read_all(parameters: Sequence[Parameter], path: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that were given, by name. Raises BadParameter, also for a name that is not known."""
    known = {parameter.name for parameter in parameters if parameter.where == "query"}
    unknown = sorted(set(query) - known)
    if unknown:
        may = f"; known are {', '.join(sorted(known))}" if known else "; this path takes none"
        raise BadParameter(f"{unknown[0][:50]} is not a parameter here{may}")
    values = {}
    for parameter in parameters:
        text = path.get(parameter.name) if parameter.where == "path" else query.get(parameter.name)
        if text is not None:
            values[parameter.name] = parameter.read(str(text))
    return values


def time_ms(name: str, description: str) -> Parameter:
    """A time in ms since the epoch."""
    return Parameter(name, description, "number", minimum=0, maximum=LATEST_MS)

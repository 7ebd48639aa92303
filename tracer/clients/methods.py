"""Methods of a client's own classes, replaced and put back.

The methods are replaced, not the classes: whoever imported a class before, subclassed it or has an instance of it is
traced too, and every isinstance check stays true.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .switch import Switch

_log = logging.getLogger("flowtrail.tracer")

# Class, method, and what makes its replacement from the original. Switched off, a replacement calls the original and
# no more: for the case that it cannot be taken out.
Replacement: TypeAlias = tuple[type, str, Callable[[Any, Switch], Callable[..., Any]]]


class Methods:
    """The replacements for one library. What is there already is not replaced again.

    Some are at every record, for the sake of few programs: those wait for `need`.
    """

    def __init__(self, replacements: Sequence[Replacement], *, is_needed: bool = True) -> None:
        self._replacements = replacements
        self._is_needed = is_needed
        self._switch: Switch | None = None
        # (class, method name) → the original and what stands in its place.
        self._replaced: dict[tuple[type, str], tuple[Any, Any]] = {}

    def install(self, switch: Switch) -> None:
        """Put the replacements in. Raises KeyError for a method that its class does not have."""
        self._switch = switch
        if not self._is_needed:
            return
        for plain, method, make in self._replacements:
            if (plain, method) not in self._replaced:
                original = plain.__dict__[method]
                replacement = functools.wraps(original)(make(original, switch))
                setattr(plain, method, replacement)
                self._replaced[plain, method] = original, replacement

    def need(self) -> None:
        """Put in what waits for this, now and whenever it is installed again."""
        if not self._is_needed:
            self._is_needed = True
            if self._switch is not None:
                self.install(self._switch)

    @property
    def are_on(self) -> bool:
        return bool(self._replaced) and self._switch is not None and self._switch.is_on

    def remove(self) -> None:
        """Put the very same functions back; without `install` before, nothing happens."""
        self._switch = None
        for (plain, method), (original, replacement) in list(self._replaced.items()):
            if plain.__dict__.get(method) is not replacement:
                # Someone wrapped ours. Taking theirs away is not for us; ours below it is switched off.
                _log.warning("%s.%s was wrapped again by something else; it is left so", plain.__qualname__, method)
                continue
            setattr(plain, method, original)
            del self._replaced[plain, method]

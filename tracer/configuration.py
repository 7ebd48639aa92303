"""What can be chosen about the tracing itself: what is captured, what is left out, how spans relate.

Where OpenTelemetry has a variable, that one counts and nothing here repeats it: exporters, samplers, limits,
propagators, resources (see `setup.py`). What it has none for is read here, from `FLOWTRAIL_*` variables or from keyword
arguments of `instrument` and `set_up`, which are stronger.

    if CONFIGURATION.now.infer_processing: …      what is in force; `now` is replaced as a whole, never changed
"""

import fnmatch
import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, get_args

_log = logging.getLogger("flowtrail.tracer")

CaptureKeys: TypeAlias = Literal["text", "hash", "off"]
ProcessRelation: TypeAlias = Literal["link", "parent"]
# (attribute's name, what it would say) → what it says instead; None: the attribute is left out.
Redact: TypeAlias = Callable[[str, str], str | None]

PREFIX: Final = "FLOWTRAIL_"


class Options(TypedDict, total=False):
    """The keyword arguments that `instrument` and `set_up` take beside their own; `Configuration` explains them."""

    capture_keys: CaptureKeys
    hash_secret: str
    capture_headers: tuple[str, ...] | list[str]
    redact: Redact | None
    excluded_topics: tuple[str, ...] | list[str]
    process_relation: ProcessRelation
    infer_processing: bool
    forward_error_messages: bool
    fast_path: bool


@dataclass(frozen=True)
class Configuration:
    """Every option with its default and a sentence. Raises TypeError or ValueError for a value that it cannot take."""

    capture_keys: Annotated[
        CaptureKeys,
        "How a record's key is noted: `text`; `hash`, the first 16 hexadecimal digits of its SHA-256, the same in "
        "every service; `off`, not at all.",
    ] = "text"
    hash_secret: Annotated[
        str,
        "Makes the hash of keys an HMAC with this secret, for keys that could be guessed by hashing all there are. "
        "Give every service the same. Empty: no secret.",
    ] = field(default="", repr=False)
    capture_headers: Annotated[
        tuple[str, ...],
        "Names of record headers that are noted, as `messaging.header.<name>`, separated by commas; upper and lower "
        "case differ. Empty: none.",
    ] = ()
    redact: Annotated[
        Redact | None,
        "A function of your own that sees a captured key or header before it is noted, `(attribute, text) → text`, and "
        "may change it, or leave it out by None. When it raises, the text is left out. It may be called on any thread, "
        "most often on Flowtrail's own a moment later: it sees no context variable and no current span of yours.",
    ] = None
    excluded_topics: Annotated[
        tuple[str, ...],
        "Patterns (`*`, `?`, `[a-z]`) of topics that are not traced at all, separated by commas: no spans, no headers. "
        "Empty: every topic is traced.",
    ] = ()
    process_relation: Annotated[
        ProcessRelation,
        "How the processing of a single record relates to its send: `link`, a trace of its own that links the "
        "record's; `parent`, the same trace, below the send. A batch links always.",
    ] = "link"
    infer_processing: Annotated[
        bool,
        "Whether a consumer's loop makes process spans by itself, from one record or poll to the next, where the "
        "program says nothing by `process`.",
    ] = True
    forward_error_messages: Annotated[
        bool,
        "Whether `retry_to` and `dead_letter_to` write an exception's text into a header, beside its type. A text may "
        "hold data.",
    ] = True
    fast_path: Annotated[
        bool,
        "Whether spans are made on a thread of their own where the SDK allows it. `false` makes each where it happens: "
        "slower, to find out whether the fast path is at fault.",
    ] = True

    def __post_init__(self) -> None:
        _check_choice("capture_keys", self.capture_keys, get_args(CaptureKeys))
        _check_choice("process_relation", self.process_relation, get_args(ProcessRelation))
        for name in ("capture_headers", "excluded_topics"):
            # A list is taken too, but a text would be a list of its letters.
            given = getattr(self, name)
            if not isinstance(given, tuple | list) or not all(isinstance(text, str) for text in given):
                raise TypeError(f"{name} is a tuple of texts, not {given!r}")
            object.__setattr__(self, name, tuple(given))
        for name in ("infer_processing", "forward_error_messages", "fast_path"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is True or False, not {getattr(self, name)!r}")
        if not isinstance(self.hash_secret, str):
            raise TypeError(f"hash_secret is a text, not a {type(self.hash_secret).__qualname__}")
        if self.redact is not None and not callable(self.redact):
            raise TypeError(f"redact is a function or None, not {self.redact!r}")

    @functools.cached_property
    def captures_keys_as_they_are(self) -> bool:
        """Whether a key that is text is noted as that text."""
        return self.capture_keys == "text" and self.redact is None

    def is_excluded(self, topic: str | None) -> bool:
        """Whether nothing of a topic is traced; no for one that is not known (None). The answer is remembered."""
        return bool(self.excluded_topics) and topic is not None and _is_matched(self.excluded_topics, topic)


# As many answers as a large program has topics; one that makes a topic for each customer does not grow by them.
@functools.lru_cache(maxsize=4096)
def _is_matched(patterns: tuple[str, ...], topic: str) -> bool:
    return any(fnmatch.fnmatchcase(topic, pattern) for pattern in patterns)


class InForce:
    """Holds the configuration in force: one attribute, replaced as a whole."""

    __slots__ = ("_given", "_told", "now")

    def __init__(self) -> None:
        self._given: dict[str, Any] = {}
        self._told: set[tuple[str, str]] = set()
        self.now: Configuration = self._read({})

    def configure(self, options: Mapping[str, Any]) -> None:
        """Read the environment anew and lay these options over it, and over those that were given before.

        Raises TypeError or ValueError for an option that there is none of, or that has a wrong value; then nothing
        has changed.
        """
        unknown = sorted(options.keys() - {option.name for option in fields(Configuration)})
        if unknown:
            raise TypeError(f"there is no option {', '.join(unknown)}")
        given = self._given | dict(options)
        self.now, self._given = self._read(given), given

    def _read(self, given: Mapping[str, Any]) -> Configuration:
        read, misread = from_environment(os.environ)
        for name, text, reason in misread:
            if (name, text) not in self._told:
                self._told.add((name, text))
                _log.warning("%s: %r is not %s; the default counts", name, text, reason)
        return Configuration(**(read | dict(given)))


def from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """The options that variables set, and those that cannot be understood: (variable, its text, what it should be).

    Pure, raises nothing. An empty variable counts as one that is not set, as OpenTelemetry has it.
    """
    found: dict[str, Any] = {}
    misread: list[tuple[str, str, str]] = []
    for option, (read, expected) in _READERS.items():
        name = variable_name(option)
        text = environment.get(name, "").strip()
        try:
            if text:
                found[option] = read(text)
        except ValueError:
            misread.append((name, text, expected))
    return found, misread


def variable_name(option: str) -> str:
    """The environment's name of an option: `capture_keys` → `FLOWTRAIL_CAPTURE_KEYS`."""
    return PREFIX + option.upper()


def _check_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    if not isinstance(given, str):
        raise TypeError(f"{name} is a text, one of {', '.join(choices)}, not {given!r}")
    if given not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {given!r}")


def _choice(choices: tuple[str, ...]) -> tuple[Callable[[str], str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(text)
        return text.lower()

    return read, f"one of {', '.join(choices)}"


def _truth(text: str) -> bool:
    """OpenTelemetry's own variables know `true` and `false`; what else people write is meant the same."""
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError(text)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_BOOLEAN: Final = (_truth, "true or false")
_READERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "capture_keys": _choice(get_args(CaptureKeys)),
    "hash_secret": (str, "a text"),
    "capture_headers": (_list, "a list"),
    "excluded_topics": (_list, "a list"),
    "process_relation": _choice(get_args(ProcessRelation)),
    "infer_processing": _BOOLEAN,
    "forward_error_messages": _BOOLEAN,
    "fast_path": _BOOLEAN,
}
# Every variable that is read here. `redact` is a function, and so only in code.
VARIABLES: Final = frozenset(map(variable_name, _READERS))

CONFIGURATION: Final = InForce()

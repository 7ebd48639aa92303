"""What `instrument` puts in the place of confluent-kafka's classes, and `uninstrument` takes out.

    names        `confluent_kafka.Producer`, wherever the library's own modules have it, becomes a traced class
    subclasses   those that exist, the library's and the program's, get the traced methods among their bases
    methods      of the library's classes that are written in Python

What remains is a program's own name for a class, taken by `from confluent_kafka import Producer` before: that class is
written in C, and cannot be changed. One line says which modules have one.
"""

import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import cimpl

from flowtrail.tracer.clients.methods import Methods
from flowtrail.tracer.clients.switch import Switch

from .asynchronous import replacements
from .classes import is_ours, mixin, stand_in
from .consumer import consumer_methods
from .producer import producer_methods
from .serializing import REPLACEMENTS
from .share import share_consumer_methods

_log = logging.getLogger("flowtrail.tracer")

LIBRARY: Final = "confluent_kafka"
# Each class written in C, and what makes its traced methods.
TRACED: Final[dict[Any, Any]] = {cimpl.Producer: producer_methods, cimpl.Consumer: consumer_methods}
if hasattr(cimpl, "ShareConsumer"):
    TRACED[cimpl.ShareConsumer] = share_consumer_methods


class Names:
    """The tracing of one process's confluent-kafka. Taken out and put in again, the traced classes are the same."""

    def __init__(self) -> None:
        self._methods = Methods((*REPLACEMENTS, *replacements()))
        # The library's class → the mixin with its traced methods, and the class with the name.
        self._mixins: dict[type, type] = {}
        self._stand_ins: dict[type, type] = {}
        # (module, name) → the library's class.
        self._renamed: dict[tuple[str, str], type] = {}
        # Subclass → its bases before, and with the mixin.
        self._rebased: dict[type, tuple[tuple[type, ...], tuple[type, ...]]] = {}

    def install(self, switch: Switch) -> None:
        """Put the tracing in; what is in already stays as it is."""
        for plain, methods in TRACED.items():
            if plain not in self._mixins:
                self._mixins[plain] = mixin(plain, methods(plain, switch))
                self._stand_ins[plain] = stand_in(plain, self._mixins[plain])
        for module, name, plain in list(_names_of_library()):
            setattr(sys.modules[module], name, self._stand_ins[plain])
            self._renamed[module, name] = plain
        for plain in TRACED:
            for subclass in plain.__subclasses__():
                self._rebase(subclass, plain)
        self._methods.install(switch)
        _say_what_is_not_traced()

    def remove(self) -> None:
        """Put everything back as it was; without `install` before, nothing happens."""
        self._methods.remove()
        for subclass, (before, ours) in list(self._rebased.items()):
            if subclass.__bases__ != ours:
                _log.warning("the bases of %s were changed by something else; they are left so", subclass.__qualname__)
                continue
            subclass.__bases__ = before
            del self._rebased[subclass]
        for (module, name), plain in list(self._renamed.items()):
            if getattr(sys.modules.get(module), name, None) is not self._stand_ins[plain]:
                _log.warning("%s.%s was replaced by something else; it is left so", module, name)
                continue
            setattr(sys.modules[module], name, plain)
            del self._renamed[module, name]

    def _rebase(self, subclass: type, plain: type) -> None:
        """Let a class that derives from `plain` derive from its traced methods too."""
        # Another tracer's class is not ours to trace.
        if subclass in self._rebased or is_ours(subclass) or subclass.__module__.startswith("opentelemetry."):
            return
        before, traced = subclass.__bases__, self._mixins[plain]
        if any(issubclass(base, traced) for base in before):
            return
        at = before.index(plain)
        ours = (*before[:at], traced, *before[at:])
        try:
            subclass.__bases__ = ours
        except TypeError as error:
            _log.warning("%s.%s is not traced: %s", subclass.__module__, subclass.__qualname__, error)
            return
        self._rebased[subclass] = before, ours


def _names_of_library() -> Iterator[tuple[str, str, type]]:
    """Module, name and class: wherever the library's own modules have one of its classes that are written in C."""
    for module, found in list(sys.modules.items()):
        if module == LIBRARY or module.startswith(f"{LIBRARY}."):
            for name, value in list(vars(found).items()):
                if isinstance(value, type) and value in TRACED:
                    yield module, name, value


def _say_what_is_not_traced() -> None:
    having: dict[str, list[str]] = {}
    for module, found in list(sys.modules.items()):
        if module.split(".")[0] in (LIBRARY, "flowtrail", "opentelemetry", "cimpl"):
            continue
        for name, value in list(getattr(found, "__dict__", {}).items()):
            # By identity: a program's objects may compare, or hash, in any way.
            if any(value is plain for plain in TRACED):
                having.setdefault(module, []).append(name)
    if having:
        _log.warning(
            "confluent-kafka's clients made in %s are not traced: the class was imported by name before "
            "flowtrail.instrument() was called. Call it first, or write confluent_kafka.Producer there",
            ", ".join(f"{module} ({', '.join(sorted(names))})" for module, names in sorted(having.items())),
        )

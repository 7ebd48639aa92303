"""How traced classes are made of confluent-kafka's, which are written in C and cannot be changed.

A mixin holds the traced methods. Put before a class of the library's among the bases of another, it comes first in
every lookup, `super()` included; taken out, the other class is what it was.
"""

import functools
from abc import ABCMeta
from collections.abc import Callable, Mapping
from typing import Any

Methods = Mapping[str, Callable[..., Any]]

# The class of the library's that a class stands for.
_STANDS_FOR: dict[type, type] = {}


class StandIn(ABCMeta):
    """The type of a class that takes the place of another: what is an instance of that one is one of this too.

    An ABCMeta, so that the program can derive from it and from an abstract class at once.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        plain = _STANDS_FOR.get(cls)
        return isinstance(instance, plain) if plain is not None else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        plain = _STANDS_FOR.get(cls)
        return issubclass(subclass, plain) if plain is not None else super().__subclasscheck__(subclass)


def mixin(plain: type, methods: Methods) -> type:
    """Return a mixin with those of `methods` that `plain` has, each looking like the original."""
    traced = {
        name: functools.wraps(getattr(plain, name))(method) for name, method in methods.items() if hasattr(plain, name)
    }
    return type(plain.__name__, (), {"__slots__": (), "__module__": plain.__module__, **traced})


def stand_in(plain: type, traced: type) -> type:
    """Return a class that looks like `plain` in all respects, and has the methods of the mixin `traced`."""
    namespace = {
        "__slots__": ("__weakref__",),
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
    }
    made: type = StandIn(plain.__name__, (traced, plain), namespace)
    _STANDS_FOR[made] = plain
    return made


def subclass(plain: type, traced: type, module: str) -> type:
    """Return a subclass of `plain`, of the same name, with the methods of the mixin `traced`."""
    namespace = {"__slots__": ("__weakref__",), "__module__": module, "__doc__": plain.__doc__}
    return type(plain.__name__, (traced, plain), namespace)


def is_ours(kind: type) -> bool:
    """Whether a class was made here, or in a module of Flowtrail's."""
    return isinstance(kind, StandIn) or kind.__module__.startswith("flowtrail.")

"""How traced classes are made of confluent-kafka's, which are written in C and cannot be changed.

A mixin holds the traced methods. Put before a class of the library's among the bases of another, it comes first in
every lookup, `super()` included; taken out, the other class is what it was.
"""

import functools
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from types import WrapperDescriptorType
from typing import Any, Final

Methods = Mapping[str, Callable[..., Any]]

# Each traced class, and the library's that it is like; of these, the ones that stand in its place.
_LIKE: dict[type, type] = {}
# What the type of traced classes, and their making, put beside the methods; where the original has none, `dir` is
# silent about it.
_ADDED: Final = frozenset({"__abstractmethods__", "__module__", "__slots__", "__weakref__", "_abc_impl"})
_STANDS_FOR: dict[type, type] = {}


class Traced(ABCMeta):
    """The type of traced classes: they say of themselves what the originals do.

    What is an instance of the class that one stands for is one of it too. An ABCMeta, so that the program can derive
    from it and from an abstract class at once.
    """

    @property
    def __signature__(cls) -> Any:
        """Classes written in C do not say how they are called; a class of the program's own does."""
        wrapped = getattr(cls.__init__, "__wrapped__", None)  # type: ignore[misc]  # it is the class that is asked
        if isinstance(wrapped, WrapperDescriptorType):
            raise ValueError(f"no signature found for builtin type {cls!r}")
        raise AttributeError("__signature__")

    def __dir__(cls) -> Iterable[str]:
        plain = _LIKE.get(cls)
        return dir(plain) if plain is not None else super().__dir__()

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


@functools.wraps(object.__dir__)
def _names_of_instance(instance: Any) -> Iterable[str]:
    """What `dir` says of an instance. A class of the program's own says what it has."""
    names, plain = object.__dir__(instance), _LIKE.get(type(instance))
    if plain is None:
        return names
    hidden = _ADDED.difference(dir(plain))
    return [name for name in names if name not in hidden]


def stand_in(plain: type, traced: type) -> type:
    """Return a class that looks like `plain` in all respects, and has the methods of the mixin `traced`."""
    namespace = {
        "__slots__": ("__weakref__",),
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "__dir__": _names_of_instance,
    }
    made: type = Traced(plain.__name__, (traced, plain), namespace)
    _LIKE[made] = _STANDS_FOR[made] = plain
    return made


def subclass(plain: type, traced: type, module: str) -> type:
    """Return a subclass of `plain`, of the same name, with the methods of the mixin `traced`."""
    namespace = {
        "__slots__": ("__weakref__",),
        "__module__": module,
        "__doc__": plain.__doc__,
        "__dir__": _names_of_instance,
    }
    made: type = Traced(plain.__name__, (traced, plain), namespace)
    _LIKE[made] = plain
    return made


def construct(plain: Any, client: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Call the original `__init__`; the library tells no keywords from an empty mapping of them."""
    if options:
        plain.__init__(client, *arguments, **options)
    else:
        plain.__init__(client, *arguments)


def over(plain: type, client: tuple[type, ...], module: str, methods: Methods) -> type:
    """Return a subclass of one of the library's classes in Python, which reaches a traced client by `super()`."""
    namespace = {"__module__": module, "__doc__": plain.__doc__, "__dir__": _names_of_instance, **methods}
    made: type = type(plain.__name__, (plain, *client), namespace)
    _LIKE[made] = plain
    return made


def is_ours(kind: type) -> bool:
    """Whether a class was made here, or in a module of Flowtrail's."""
    return isinstance(kind, Traced) or kind.__module__.startswith("flowtrail.")

"""A function whose work is the processing of a record: the same as `with process(record):` around its body.

@processed
def handle(record): …

@processed("records")                     where the record, or the batch, is not the first argument
async def store(database, records): …
"""

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any, Final, ParamSpec, TypeVar, overload

from .processing import process

P = ParamSpec("P")
T = TypeVar("T")

# What the first argument of a method is called, which is no record.
_RECEIVERS: Final = frozenset({"self", "cls"})
_BY_POSITION: Final = frozenset({Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL})


@overload
def processed(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def processed(parameter: str, /) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def processed(what: Callable[..., Any] | str, /) -> Callable[..., Any]:
    """Trace each call of a function, plain or asynchronous, as the work on the record that it is given.

    The record (or list of records) is the first argument, in a method the one after `self`; or the one of the name
    that is given. What the function raises is recorded and goes on as it was; a call without the argument is the
    function's own error. Raises TypeError at once for a function without such a parameter, and for a generator, whose
    work is done where it is iterated.
    """
    if isinstance(what, str):
        return functools.partial(_wrap, parameter=what)
    return _wrap(what, None)


def _wrap(function: Callable[..., Any], parameter: str | None) -> Callable[..., Any]:
    if not callable(function):
        raise TypeError(f"processed() takes a function or a parameter's name, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{_name(function)}() is a generator: its work is done where it is iterated; write "
            "`with process(record):` inside, around the work"
        )
    position, name = _place(function, parameter)

    def record_in(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if position is not None and position < len(given):
            return given[position]
        # An empty batch makes no span: the call fails, and says why itself.
        return named.get(name, ())

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*given: Any, **named: Any) -> Any:
            with process(record_in(given, named)):
                return await function(*given, **named)

        return awaited

    @functools.wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        with process(record_in(given, named)):
            return function(*given, **named)

    return called


def _place(function: Callable[..., Any], parameter: str | None) -> tuple[int | None, str]:
    """Return where the record is among the positional arguments (None: it is only named), and its name."""
    parameters = list(inspect.signature(function).parameters.values())
    for position, each in enumerate(parameters):
        is_positional = each.kind in _BY_POSITION
        is_wanted = is_positional and each.name not in _RECEIVERS if parameter is None else each.name == parameter
        if is_wanted and each.kind is not Parameter.VAR_KEYWORD:
            return position if is_positional else None, each.name
    wanted = "no argument that could be a record" if parameter is None else f"no parameter {parameter!r}"
    raise TypeError(f"{_name(function)}() has {wanted}")


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))

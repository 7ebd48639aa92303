"""OpenTelemetry's own instrumentations of the Kafka clients, which stand down where Flowtrail traces.

Both at once would make every span twice, and write two contexts into every record. So Flowtrail's counts, whichever was
activated first: one that is active is taken out of the client's classes, and one that is activated later does nothing
but say so. When Flowtrail is taken out again, everything of theirs is as it was.

    distribution                               module                                       its instrumentor
    opentelemetry-instrumentation-kafka-python opentelemetry.instrumentation.kafka          KafkaInstrumentor
    opentelemetry-instrumentation-confluent-…  opentelemetry.instrumentation.confluent_…    ConfluentKafkaInstrumentor
    opentelemetry-instrumentation-aiokafka     opentelemetry.instrumentation.aiokafka       AIOKafkaInstrumentor
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from .clients.known import is_known

_log = logging.getLogger("flowtrail.tracer")


class _Theirs(NamedTuple):
    """Where an instrumentation is, and what it replaces: attributes of these, (module, name of a class in it)."""

    distribution: str
    module: str
    instrumentor: str
    replaces_in: tuple[tuple[str, str | None], ...]
    # Methods of the instrumentor's class that wrap one client's object, given by the program.
    wrappers: tuple[str, ...] = ()


_THEIRS: Final = {
    "kafka_python": _Theirs(
        "opentelemetry-instrumentation-kafka-python",
        "opentelemetry.instrumentation.kafka",
        "KafkaInstrumentor",
        (("kafka", "KafkaProducer"), ("kafka", "KafkaConsumer")),
    ),
    "confluent": _Theirs(
        "opentelemetry-instrumentation-confluent-kafka",
        "opentelemetry.instrumentation.confluent_kafka",
        "ConfluentKafkaInstrumentor",
        # The module alone: what it made of their classes stays whole, and goes on with their own tracing.
        (("confluent_kafka", None),),
        ("instrument_producer", "instrument_consumer"),
    ),
    "aiokafka": _Theirs(
        "opentelemetry-instrumentation-aiokafka",
        "opentelemetry.instrumentation.aiokafka",
        "AIOKafkaInstrumentor",
        (("aiokafka", "AIOKafkaProducer"), ("aiokafka", "AIOKafkaConsumer")),
    ),
}


class _StoodDown(NamedTuple):
    """An instrumentation that stands down, and what makes it as it was: (object, attribute, value)."""

    instrumentor: Any
    was_active: bool
    wrapped: list[tuple[Any, str, Any]]


_stood_down: dict[str, _StoodDown] = {}


def stand_down(folder: str) -> None:
    """Have OpenTelemetry's instrumentation of a client do nothing; where there is none, nothing happens.

    Before ours is put in, so that it wraps the client's own methods. Again changes nothing. Raises nothing.
    """
    theirs = _THEIRS.get(folder)
    if theirs is None or folder in _stood_down or not _is_installed(theirs.module):
        return
    try:
        module = importlib.import_module(theirs.module)
        instrumentor = getattr(module, theirs.instrumentor)()
    except Exception as error:  # it cannot be imported here, so nobody can activate it
        _log.debug("%s is not asked to stand down: %s", theirs.distribution, error)
        return
    try:
        _stood_down[folder] = _put_off(theirs, instrumentor)
    except Exception:
        _log.exception("%s cannot be turned off; spans may be made twice", theirs.distribution)


def stand_up(folder: str) -> None:
    """Make OpenTelemetry's instrumentation as it was before `stand_down`, active or not. After ours is taken out."""
    stood_down = _stood_down.pop(folder, None)
    if stood_down is None:
        return
    instrumentor = stood_down.instrumentor
    for name in ("_instrument", "_uninstrument"):
        vars(instrumentor).pop(name, None)
    _put_back(stood_down.wrapped)
    if stood_down.was_active:
        instrumentor._is_instrumented_by_opentelemetry = True
    else:
        vars(instrumentor).pop("_is_instrumented_by_opentelemetry", None)


def _put_off(theirs: _Theirs, instrumentor: Any) -> _StoodDown:
    stood_down = _StoodDown(instrumentor, bool(instrumentor.is_instrumented_by_opentelemetry), [])
    if stood_down.was_active:
        replaced, made = _attributes(_owners(theirs)), _attributes(_made(theirs, type(instrumentor)))
        instrumentor.uninstrument()
        stood_down.wrapped.extend(_changed(replaced))
        # Programs have objects of these, which are theirs to trace: half unwrapped, their spans would not end.
        _put_back(_changed(made))
        _tell(theirs)
    # On the instance, of which there is one: BaseInstrumentor goes on to believe that it was activated.
    instrumentor._instrument = lambda **_: _tell(theirs)
    instrumentor._uninstrument = lambda **_: None
    for name in theirs.wrappers:
        plain = vars(type(instrumentor)).get(name)
        if isinstance(plain, staticmethod):
            stood_down.wrapped.append((type(instrumentor), name, plain))
            setattr(type(instrumentor), name, staticmethod(_unless_traced(plain.__func__)))
    return stood_down


def _attributes(owners: Iterable[Any]) -> list[tuple[Any, dict[str, Any]]]:
    return [(owner, dict(vars(owner))) for owner in owners]


def _changed(before: list[tuple[Any, dict[str, Any]]]) -> list[tuple[Any, str, Any]]:
    """The attributes that are another object now than they were, with what they were."""
    return [
        (owner, name, value)
        for owner, attributes in before
        for name, value in attributes.items()
        if vars(owner).get(name) is not value
    ]


def _put_back(attributes: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in attributes:
        setattr(owner, name, value)


def _made(theirs: _Theirs, instrumentor: type) -> list[type]:
    """The client classes that their module makes."""
    found = vars(importlib.import_module(theirs.module)).values()
    return [
        one for one in found if isinstance(one, type) and one.__module__ == theirs.module and one is not instrumentor
    ]


def _owners(theirs: _Theirs) -> Iterator[Any]:
    for module, name in theirs.replaces_in:
        owner = importlib.import_module(module)
        yield owner if name is None else getattr(owner, name)


def _unless_traced(wrap: Callable[..., Any]) -> Callable[..., Any]:
    """`wrap`, but a client that Flowtrail traces is returned as it is."""

    def wrapped(client: Any, *given: Any, **named: Any) -> Any:
        return client if is_known(client) else wrap(client, *given, **named)

    return wrapped


def _tell(theirs: _Theirs) -> None:
    _log.warning(
        "Flowtrail traces this client: %s is turned off as long as it does, or every span would be there twice",
        theirs.distribution,
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # not even the package that it would be in
        return False

"""Traced methods are called in every way that the originals are, and hand on what they were given.

Signatures are compared as they are written, since by `functools.wraps` every function says that it has the original's.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import aiokafka
import confluent_kafka
import kafka
import pytest
from confluent_kafka import aio

from flowtrail.tracer.clients import aiokafka as our_aiokafka
from flowtrail.tracer.clients import confluent
from flowtrail.tracer.clients import kafka_python as our_kafka_python
from flowtrail.tracer.clients.aiokafka.replacements import REPLACEMENTS as OF_AIOKAFKA
from flowtrail.tracer.clients.confluent.asynchronous import replacements as of_asyncio
from flowtrail.tracer.clients.confluent.consumer import consumer_methods
from flowtrail.tracer.clients.confluent.producer import producer_methods
from flowtrail.tracer.clients.confluent.serializing import REPLACEMENTS as OF_SERIALIZING
from flowtrail.tracer.clients.kafka_python.replacements import REPLACEMENTS as OF_KAFKA_PYTHON
from flowtrail.tracer.clients.methods import Methods
from flowtrail.tracer.clients.switch import Switch

# The library's class, and our subclass of it.
CLASSES = {
    kafka.KafkaProducer: our_kafka_python.KafkaProducer,
    kafka.KafkaConsumer: our_kafka_python.KafkaConsumer,
    aiokafka.AIOKafkaProducer: our_aiokafka.AIOKafkaProducer,
    aiokafka.AIOKafkaConsumer: our_aiokafka.AIOKafkaConsumer,
    confluent_kafka.SerializingProducer: confluent.SerializingProducer,
    confluent_kafka.DeserializingConsumer: confluent.DeserializingConsumer,
    aio.AIOProducer: confluent.AIOProducer,
    aio.AIOConsumer: confluent.AIOConsumer,
}


MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Wrapped(NamedTuple):
    """A method that is traced, and where it is."""

    plain: Any
    name: str
    make: Any

    @property
    def original(self) -> Any:
        return vars(self.plain)[self.name]


ALL = [
    Wrapped(*each)
    for each in (*OF_KAFKA_PYTHON, *OF_AIOKAFKA, *OF_SERIALIZING, *of_asyncio())
    if each[0] in CLASSES and (not each[1].startswith("_") or each[1] == "__next__")
]
# Of these the originals are Python functions with parameters that can be told apart.
RECORDED = [each for each in ALL if not each.plain.__module__.startswith("confluent_kafka")]


def name_of(case: object) -> str:
    return f"{case.plain.__module__.split('.')[0]}.{case.plain.__name__}.{case.name}" if type(case) is Wrapped else ""


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """A function's own parameters: name (which `*` and `**` may choose), kind and default."""
    found = inspect.signature(function, follow_wrapped=False).parameters.values()
    return [("*" if each.kind in MANY else each.name, each.kind, each.default) for each in found]


def takes_all(function: Any) -> bool:
    """Whether a function takes whatever there is, to hand it on."""
    return tuple(kind for _, kind, _ in parameters(function)[1:]) == MANY


@pytest.mark.parametrize("wrapped", ALL, ids=name_of)
@pytest.mark.parametrize("way", ["named", "put in"])
def test_a_traced_method_has_the_signature_of_the_original_or_takes_all(wrapped: Wrapped, way: str) -> None:
    named = vars(CLASSES[wrapped.plain])[wrapped.name]
    ours = named if way == "named" else wrapped.make(wrapped.original, Switch())
    assert takes_all(ours) or parameters(ours) == parameters(wrapped.original)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(wrapped.original)


@pytest.mark.parametrize("plain", list(CLASSES), ids=lambda plain: f"{plain.__module__}.{plain.__name__}")
def test_both_ways_trace_the_same_methods(plain: Any) -> None:
    named = {name for name, value in vars(CLASSES[plain]).items() if inspect.isfunction(value)}
    assert {each.name for each in ALL if each.plain is plain} == {
        name for name in named if not name.startswith("_") or name == "__next__"
    }


class Given(NamedTuple):
    """What a method is called with."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def calls(original: Any) -> Iterator[Given]:
    """A call with everything by position, one with everything by name, and one with what it needs alone."""
    by_position: list[Any] = []
    by_name: dict[str, Any] = {}
    only_by_name: dict[str, Any] = {}
    needed: dict[str, Any] = {}
    several: list[Any] = []
    for name, kind, default in parameters(original)[1:]:
        given = object()
        if kind is inspect.Parameter.VAR_POSITIONAL:
            several += [object(), object()]
            continue
        if kind is inspect.Parameter.KEYWORD_ONLY:
            only_by_name[name] = given
        else:
            by_position.append(given)
        by_name[name] = given
        if default is inspect.Parameter.empty:
            needed[name] = given
    yield Given((*by_position, *several), only_by_name)
    yield Given((), by_name)
    yield Given((), needed)


@pytest.mark.parametrize("wrapped", RECORDED, ids=name_of)
@pytest.mark.parametrize("way", ["named", "put in", "switched off"])
def test_the_original_gets_what_was_given_by_position_and_by_name(
    wrapped: Wrapped, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = wrapped.original
    signature = inspect.signature(original)
    received: list[dict[str, Any]] = []

    def bound(instance: Any, given: Given) -> dict[str, Any]:
        found = signature.bind(instance, *given.positional, **given.named)
        found.apply_defaults()
        return dict(found.arguments)

    def record(self: Any, *positional: Any, **named: Any) -> None:
        received.append(bound(self, Given(positional, named)))

    async def record_later(self: Any, *positional: Any, **named: Any) -> None:
        record(self, *positional, **named)

    is_later = inspect.iscoroutinefunction(original)
    monkeypatch.setattr(wrapped.plain, wrapped.name, record_later if is_later else record)
    switch = Switch()
    switch.is_on = way == "put in"
    methods = Methods([wrapped] if way != "named" else [])
    methods.install(switch)
    try:
        kind = CLASSES[wrapped.plain] if way == "named" else wrapped.plain
        # Made without a broker; so it has nothing to close either.
        namespace = {"__init__": lambda self: None, "__del__": lambda self: None, "config": {}}
        kind = type(kind.__name__, (kind,), namespace)
        for given in calls(original):
            instance = kind()
            answer = getattr(instance, wrapped.name)(*given.positional, **given.named)
            if is_later:
                asyncio.run(answer)
            assert received == [bound(instance, given)]
            received.clear()
    finally:
        methods.remove()


# The parameters of methods that are written in C, as their documentation has them.
IN_C: dict[str, list[str]] = {
    "produce": ["topic", "value", "key", "partition", "callback", "on_delivery", "timestamp", "headers"],
    "produce_batch": ["topic", "messages", "partition", "on_delivery"],
    "send_offsets_to_transaction": ["positions", "group_metadata", "timeout"],
    "commit_transaction": ["timeout"],
    "abort_transaction": ["timeout"],
    "begin_transaction": [],
    "poll": ["timeout"],
    "consume": ["num_messages", "timeout"],
    "commit": ["message", "offsets", "asynchronous"],
    "seek": ["partition"],
    "subscribe": ["topics", "on_assign", "on_revoke", "on_lost"],
    "close": [],
}
# Callbacks get ours before them.
OURS = {"callback", "on_delivery"}


@pytest.mark.parametrize("name", [*IN_C])
@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("make", [producer_methods, consumer_methods])
def test_a_method_in_c_gets_what_was_given_by_position_and_by_name(
    name: str, is_on: bool, make: Callable[..., Any]
) -> None:
    received: list[Given] = []

    def record(self: Any, *positional: Any, **named: Any) -> None:
        received.append(Given(positional, named))

    plain = type("Plain", (), dict.fromkeys([*IN_C, "__exit__"], record))
    switch = Switch()
    switch.is_on = is_on
    traced = make(plain, switch).get(name)
    if traced is None:
        return
    values = {parameter: object() for parameter in IN_C[name]}
    for given in (Given(tuple(values.values()), {}), Given((), values)):
        traced(plain(), *given.positional, **given.named)
        (found,) = received
        received.clear()
        arrived = dict(zip(IN_C[name], found.positional, strict=False)) | found.named
        assert {key: arrived[key] for key in values.keys() - OURS} == {key: values[key] for key in values.keys() - OURS}
        assert arrived.keys() == values.keys()

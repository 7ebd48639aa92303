"""Tracing goes into confluent-kafka, whose classes are written in C, and comes out again."""

import abc
import inspect
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import confluent_kafka
import pytest
from confluent_kafka import aio, cimpl

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import confluent

from .spans import Spans, attributes

T = TypeVar("T")
PLAIN: Any = cimpl.Producer
PYTHON_CLASSES = (
    confluent_kafka.SerializingProducer,
    confluent_kafka.DeserializingConsumer,
    aio.AIOProducer,
    aio.AIOConsumer,
)


class FromBefore(PLAIN):  # type: ignore[misc]  # what it is, is looked up
    """A class of the program's own, made before anything of ours."""

    def produce(self, topic: str, *arguments: Any, **options: Any) -> None:
        super().produce(topic.lower(), *arguments, **options)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    flowtrail.uninstrument()


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:12]}"


def options(broker: EmbeddedBroker, **more: Any) -> Any:
    return {"bootstrap.servers": broker.bootstrap_servers, "log_level": 2} | more


def send(producer: Any, topic: str) -> None:
    producer.produce(topic, b"value", partition=0)
    producer.flush()


def state() -> list[Any]:
    modules = [found for name, found in sys.modules.items() if name.split(".")[0] == "confluent_kafka"]
    spaces = (*modules, *PYTHON_CLASSES, FromBefore)
    attributes = [{name: id(value) for name, value in vars(space).items()} for space in spaces]
    return [attributes, [kind.__bases__ for kind in (*PYTHON_CLASSES, FromBefore)]]


def test_uninstrument_leaves_every_name_method_and_base_as_it_was(spans: Spans) -> None:
    before = state()
    for _ in range(2):
        flowtrail.instrument(tracer_provider=spans.provider)
        assert state() != before
        flowtrail.uninstrument()
        assert state() == before


def test_the_names_of_the_library_stand_for_traced_classes(spans: Spans, broker: EmbeddedBroker, topic: str) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    inside: Any = sys.modules["confluent_kafka.serializing_producer"]
    assert confluent_kafka.Producer is cimpl.Producer is inside._ProducerImpl is not PLAIN
    send(confluent_kafka.Producer(options(broker)), topic)
    spans.one(f"send {topic}")


def test_what_was_made_before_is_an_instance_of_what_the_name_stands_for_now(
    spans: Spans, broker: EmbeddedBroker
) -> None:
    producer, own = PLAIN(options(broker)), FromBefore(options(broker))
    flowtrail.instrument(tracer_provider=spans.provider)
    assert isinstance(producer, confluent_kafka.Producer)
    assert isinstance(own, confluent_kafka.Producer)
    assert issubclass(PLAIN, confluent_kafka.Producer)
    assert issubclass(FromBefore, confluent_kafka.Producer)
    assert not isinstance(producer, confluent_kafka.Consumer)
    assert not isinstance(object(), confluent_kafka.Producer)


def test_what_is_made_while_instrumented_is_an_instance_after_it_and_not_traced(
    spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    producer: Any = confluent_kafka.Producer(options(broker))
    flowtrail.uninstrument()
    assert isinstance(producer, confluent_kafka.Producer)
    send(producer, topic)
    assert spans.names() == []


def test_the_traced_classes_look_like_the_originals(spans: Spans, broker: EmbeddedBroker) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    traced: Any = confluent_kafka.Producer
    assert traced is not PLAIN
    assert (repr(traced), traced.__module__, traced.__qualname__) == (repr(PLAIN), "cimpl", "Producer")
    assert repr(traced(options(broker))).startswith("<cimpl.Producer object at ")
    assert (traced.__doc__, traced.produce.__doc__) == (PLAIN.__doc__, PLAIN.produce.__doc__)
    with pytest.raises(AttributeError):
        traced(options(broker)).colour = "red"


@pytest.mark.parametrize("name", ["SerializingProducer", "DeserializingConsumer", "AIOProducer", "AIOConsumer"])
def test_the_classes_in_python_are_called_as_the_originals_are(spans: Spans, name: str) -> None:
    plain = getattr(confluent_kafka, name, None) or getattr(aio, name)
    signatures = {method: _signature(getattr(plain, method)) for method in ("__init__", *dir(plain))}
    ours: Any = getattr(confluent, name)
    assert issubclass(ours, plain)
    assert {method: _signature(getattr(ours, method)) for method in signatures} == signatures
    flowtrail.instrument(tracer_provider=spans.provider)
    assert {method: _signature(getattr(plain, method)) for method in signatures} == signatures


@pytest.mark.parametrize(
    "name", ["Producer", "Consumer", *(["ShareConsumer"] if hasattr(cimpl, "ShareConsumer") else [])]
)
def test_without_a_configuration_a_client_is_refused_as_by_the_original(spans: Spans, name: str) -> None:
    with pytest.raises(TypeError) as theirs:
        getattr(cimpl, name)()
    flowtrail.instrument(tracer_provider=spans.provider)
    for traced in (getattr(confluent_kafka, name), getattr(confluent, name)):
        with pytest.raises(TypeError) as ours:
            traced()
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", ["Producer", "Consumer", "SerializingProducer", "DeserializingConsumer"])
def test_the_classes_and_their_instances_have_the_names_of_the_originals(
    spans: Spans, broker: EmbeddedBroker, name: str
) -> None:
    given = options(broker) | ({"group.id": "group"} if "Consumer" in name else {})
    plain = getattr(confluent_kafka, name)
    of_class, of_instance = dir(plain), dir(plain(given))
    ours = getattr(confluent, name)
    assert dir(ours) == of_class
    assert set(dir(ours(given))) == set(of_instance)
    flowtrail.instrument(tracer_provider=spans.provider)
    put_in = getattr(confluent_kafka, name)
    assert dir(put_in) == of_class
    assert set(dir(put_in(given))) == set(of_instance)


def _signature(thing: Any) -> str | None:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return None


def test_a_class_of_the_programs_own_from_before_is_traced_and_its_instances_are(
    spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    before = FromBefore(options(broker))
    flowtrail.instrument(tracer_provider=spans.provider)
    send(FromBefore(options(broker, **{"client.id": "after"})), topic.upper())
    assert attributes(spans.one(f"send {topic}"))[names.CLIENT_ID] == "after"
    send(before, topic.upper())
    (event,) = spans.wait(f"send {topic}", 2)[1].events
    # Which callback it would call by default nobody knows any more, so none is given.
    assert event.name == names.UNACKNOWLEDGED_EVENT
    flowtrail.uninstrument()
    send(before, topic.upper())
    assert len(spans.names()) == 2


def test_the_default_callback_of_an_instance_from_before_is_still_called(
    spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    calls: list[Any] = []
    before = FromBefore(options(broker, on_delivery=lambda error, message: calls.append(message.topic())))
    flowtrail.instrument(tracer_provider=spans.provider)
    send(before, topic)
    assert calls == [topic]


def test_a_program_may_derive_from_the_traced_classes_as_from_the_originals(
    spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    base: Any = confluent_kafka.Producer

    class Abstract(base, abc.ABC):  # type: ignore[misc]
        pass

    class Typed(base, Generic[T]):  # type: ignore[misc]
        pass

    class Both(FromBefore, base):  # type: ignore[misc]
        def __init__(self, configuration: Any, name: str) -> None:
            super().__init__(configuration)
            self.name = name

    send(Abstract(options(broker)), topic)
    send(Typed(options(broker)), topic)
    send(Both(options(broker), "both"), topic)
    assert len(spans.wait(f"send {topic}", 3)) == 3
    assert str(inspect.signature(Both)) == "(configuration: Any, name: str) -> None"
    assert not isinstance(PLAIN(options(broker)), Abstract)


def test_one_line_names_the_modules_that_have_the_plain_class(
    spans: Spans, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = types.ModuleType("shop_orders")
    module.KafkaProducer, module.Consumer = PLAIN, cimpl.Consumer
    monkeypatch.setitem(sys.modules, "shop_orders", module)
    flowtrail.instrument(tracer_provider=spans.provider)
    (line,) = [record.getMessage() for record in caplog.records if "are not traced" in record.getMessage()]
    assert "shop_orders (Consumer, KafkaProducer)" in line
    assert "Call it first" in line
    assert "confluent_kafka.serializing_producer" not in line


def test_a_name_that_others_replaced_again_stays_and_ours_below_is_off(
    spans: Spans, broker: EmbeddedBroker, topic: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    ours: Any = confluent_kafka.Producer
    theirs = type("Theirs", (ours,), {})
    with monkeypatch.context() as patch:
        patch.setattr(confluent_kafka, "Producer", theirs)
        flowtrail.uninstrument()
        assert confluent_kafka.Producer is theirs
        send(theirs(options(broker)), topic)
    assert "confluent_kafka.Producer was replaced by something else" in caplog.text
    assert spans.names() == []
    # Theirs is gone, so the next one puts back what ours stands for.
    flowtrail.uninstrument()
    assert confluent_kafka.Producer is PLAIN


def test_our_own_subclass_is_traced_once_while_instrumented_and_still_after(
    spans: Spans, broker: EmbeddedBroker, topic: str
) -> None:
    flowtrail.instrument(tracer_provider=spans.provider)
    producers = [confluent.Producer(options(broker)), confluent.SerializingProducer(options(broker))]
    for producer in producers:
        send(producer, topic)
    assert len(spans.wait(f"send {topic}", 2)) == 2
    flowtrail.uninstrument()
    for producer in producers:
        send(producer, topic)
    assert len(spans.wait(f"send {topic}", 4)) == 4

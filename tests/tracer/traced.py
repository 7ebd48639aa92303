"""A library's clients, traced in one way, for the length of a test; and what the contract's sentences compare."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

import flowtrail
from flowtrail.tracer import attributes as names
from flowtrail.tracer.spans import error_type

from .drivers.driver import (
    ConsumerOptions,
    DrivenConsumer,
    DrivenProducer,
    Driver,
    Place,
    ProducerOptions,
    Way,
)
from .spans import Spans, attributes, link_attributes, wait_until


class Outcome(NamedTuple):
    """What became of a call: the error's full name and text, or two empty texts."""

    error: str
    text: str


class Traced:
    """Makes traced clients, and closes them at its end, while they are still traced."""

    def __init__(self, driver: Driver, way: Way, spans: Spans) -> None:
        self.driver = driver
        self.way = way
        self.spans = spans
        self._opened = ExitStack()

    def __enter__(self) -> "Traced":
        self.trace()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._opened.close()
        finally:
            flowtrail.uninstrument()
            self.driver.close()

    def trace(self) -> None:
        """Trace the clients from now on, by the way of this test."""
        if self.way == "instrumented":
            flowtrail.instrument(tracer_provider=self.spans.provider)
        else:
            flowtrail.set_up(tracer_provider=self.spans.provider)

    def send_spans_to(self, spans: Spans) -> None:
        """Let another provider make the spans from now on."""
        self.spans = spans
        flowtrail.set_up(tracer_provider=spans.provider)

    def producer(self, **options: Any) -> DrivenProducer:
        """A traced producer; the options are those of `ProducerOptions`."""
        producer = self.driver.make_producer(self.way, ProducerOptions(**options))
        self._opened.callback(producer.close)
        return producer

    def consumer(self, topic: str, **options: Any) -> DrivenConsumer:
        """A traced consumer of partition 0 of a topic; the options are those of `ConsumerOptions`."""
        consumer = self.driver.make_consumer(self.way, ConsumerOptions(**options))
        self._opened.callback(consumer.close)
        consumer.assign(Place(topic, 0))
        return consumer

    @contextmanager
    def once(self) -> Iterator["Traced"]:
        """Clients that are closed, and let go, at the end of the block."""
        opened, self._opened = self._opened, ExitStack()
        try:
            yield self
        finally:
            self._opened.close()
            self._opened = opened

    @contextmanager
    def untraced(self) -> Iterator[None]:
        """The library as it is without us, inside the block; the driver's way there is "plain"."""
        flowtrail.uninstrument()
        try:
            yield
        finally:
            self.trace()

    def plain_producer_does(self, do: Callable[[DrivenProducer], object], **options: Any) -> Outcome:
        """What becomes of a call without us; a producer that cannot even be made is an outcome too."""
        with self.untraced():
            return _producer_does(self.driver, "plain", ProducerOptions(**options), do)

    def producer_does(self, do: Callable[[DrivenProducer], object], **options: Any) -> Outcome:
        """What becomes of the same call with us."""
        return _producer_does(self.driver, self.way, ProducerOptions(**options), do)

    def plain_consumer_does(self, do: Callable[[DrivenConsumer], object], **options: Any) -> Outcome:
        with self.untraced():
            return _consumer_does(self.driver, "plain", ConsumerOptions(**options), do)

    def consumer_does(self, do: Callable[[DrivenConsumer], object], **options: Any) -> Outcome:
        return _consumer_does(self.driver, self.way, ConsumerOptions(**options), do)

    def polled(self, consumer: DrivenConsumer, count: int = 1) -> list[Any]:
        """Poll until `count` records are there."""
        records: list[Any] = []

        def is_there() -> bool:
            records.extend(consumer.poll())
            return len(records) >= count

        wait_until(is_there, f"{count} records")
        return records

    def carried(self, record: Any) -> list[int]:
        """The span ids in a record's traceparent headers."""
        return [
            int(value.decode().split("-")[2], 16)
            for name, value in self.driver.headers(record)
            if name == "traceparent" and value is not None
        ]

    def processed(self, topic: str, count: int) -> list[ReadableSpan]:
        """The first `count` spans of processing that the program itself asked for."""

        def found() -> list[ReadableSpan]:
            return [span for span in self.spans.named(f"process {topic}") if names.INFERRED not in attributes(span)]

        wait_until(lambda: len(found()) >= count, f"{count} spans of processing, only {self.spans.names()}")
        return found()

    def of_links(self, name: str, count: int, *, inferred: bool = False) -> list[dict[str, object]]:
        """What the links of all spans of a name say, once there are `count` of them; of processing, see `inferred`."""

        def found() -> list[dict[str, object]]:
            spans = [span for span in self.spans.named(name) if (names.INFERRED in attributes(span)) == inferred]
            return [said for span in spans for said in link_attributes(span)]

        wait_until(lambda: len(found()) >= count, f"{count} links of spans {name!r}, only {self.spans.names()}")
        return found()


def outcome(call: Callable[[], object]) -> Outcome:
    """What became of a call."""
    try:
        call()
    except Exception as error:
        return Outcome(error_type(error), str(error))
    return Outcome("", "")


def _producer_does(
    driver: Driver, way: Way, options: ProducerOptions, do: Callable[[DrivenProducer], object]
) -> Outcome:
    def call() -> None:
        producer = driver.make_producer(way, options)
        try:
            do(producer)
        finally:
            producer.close()

    return outcome(call)


def _consumer_does(
    driver: Driver, way: Way, options: ConsumerOptions, do: Callable[[DrivenConsumer], object]
) -> Outcome:
    def call() -> None:
        consumer = driver.make_consumer(way, options)
        try:
            do(consumer)
        finally:
            consumer.close()

    return outcome(call)

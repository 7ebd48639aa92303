"""What a record carries is told on its spans the same way on either path: contexts, a CloudEvent's, a past, schemas."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowtrail.tracer import attributes as names
from flowtrail.tracer import headers
from flowtrail.tracer.interceptor import Chain
from flowtrail.tracer.origin import ATTEMPTS, OFFSET, PARTITION, RETRY_TO, TOPIC
from flowtrail.tracer.record import Client, Header, Polled, Received
from flowtrail.tracer.traceparent import read_spans
from flowtrail.tracer.tracing import Tracing, end_process

from .spans import attributes, linked, span_id, trace_id

CLIENT = Client("till-4", "billing")


def traceparent(number: int, name: str = "traceparent") -> Header:
    return name, b"00-%032x-%016x-01" % (number, number)


class Keeping(SpanProcessor):
    """Keeps what ended, and does nothing at a start: the fast path is open."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Traced:
    """Tracing over a provider of its own."""

    def __init__(self, *, is_fast: bool) -> None:
        self._keeping = Keeping()
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self._keeping if is_fast else SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self.provider)
        self.chain = Chain(last=self.tracing)

    def send(self, given: list[Header], topic: str = "orders", value: object = b"value") -> tuple[ReadableSpan, Any]:
        """The span of a send, and the headers that were sent."""
        sending = self.chain.send(CLIENT, topic, b"key", value, given)
        sent = sending.headers
        self.chain.acknowledge(sending, 3, 42)
        return self.finished()[-1], sent

    def finished(self) -> list[ReadableSpan]:
        self.provider.force_flush()
        return list(self._exporter.get_finished_spans()) or self._keeping.ended

    def process(self, record: Received) -> ReadableSpan:
        started, _ = self.tracing.start_process(CLIENT, [record], is_batch=False)
        end_process(started, None)
        return self.finished()[-1]


@pytest.fixture(params=[True, False], ids=["fast", "ordinary"])
def traced(request: pytest.FixtureRequest) -> Iterator[Traced]:
    traced = Traced(is_fast=request.param)
    yield traced
    traced.tracing.rest()
    traced.provider.shutdown()


def record(given: list[Header], topic: str = "orders", **facts: Any) -> Received:
    return Received(CLIENT, topic, 3, 42, b"key", None, given, **facts)


def test_a_cloud_events_own_context_is_linked_by_its_send_and_stays(traced: Traced) -> None:
    made = traceparent(7, "ce_traceparent")
    span, sent = traced.send([made])
    assert linked(span) == [7]
    assert sent == [made, ("traceparent", b"00-%032x-%016x-03" % (trace_id(span), span_id(span)))]


def test_processing_a_cloud_event_links_its_send_and_its_making(traced: Traced) -> None:
    assert linked(traced.process(record([traceparent(7, "ce_traceparent"), traceparent(8)]))) == [8, 7]
    assert linked(traced.process(record([traceparent(7, "ce_traceparent")]))) == [7]


def test_a_name_in_capitals_is_the_same_name(traced: Traced) -> None:
    assert linked(traced.process(record([traceparent(7, "Traceparent")]))) == [7]
    span, sent = traced.send([traceparent(7, "Traceparent")])
    assert linked(span) == [7]
    assert sent == [traceparent(7, "Traceparent")]  # the program's own, and kept as any


def test_every_context_of_a_record_that_was_retried_by_copying_is_linked(traced: Traced) -> None:
    # Others append one at every hop and read the first.
    assert linked(traced.process(record([traceparent(number) for number in (1, 2, 3, 4)]))) == [4, 1, 2, 3]


@pytest.mark.parametrize("value", [b"\xff\xfe", b"", b"00-0-0-00", b"x" * 9000, None], ids=repr)
def test_a_traceparent_of_nonsense_does_no_harm(traced: Traced, value: bytes | None) -> None:
    assert linked(traced.process(record([("traceparent", value)]))) == []
    span, sent = traced.send([("traceparent", value)])
    assert linked(span) == []
    assert [name for name, _ in sent] == ["traceparent"]
    assert b"%016x" % span_id(span) in sent[0][1]


PAST: list[Header] = [
    (RETRY_TO, b"orders.retry"),
    (TOPIC, b"orders"),
    (PARTITION, b"3"),
    (OFFSET, b"7"),
    (ATTEMPTS, b"1"),
]
SAID = {
    names.ORIGINAL_TOPIC: "orders",
    names.ORIGINAL_PARTITION: "3",
    names.ORIGINAL_OFFSET: 7,
    names.DELIVERY_ATTEMPT: 2,
    names.FORWARDED: "retry",
}


def said(found: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in found.items() if name in SAID}


def test_a_forwarded_record_links_the_old_one_and_says_its_past(traced: Traced) -> None:
    span, sent = traced.send([traceparent(7), *PAST], "orders.retry")
    assert linked(span) == [7]
    assert said(attributes(span)) == SAID
    assert [value for name, value in sent if name == "traceparent"] == [
        b"00-%032x-%016x-03" % (trace_id(span), span_id(span))
    ]
    assert said(attributes(traced.process(record(sent, "orders.retry")))) == SAID


def test_a_forwarded_record_of_no_trace_says_its_past_too(traced: Traced) -> None:
    span, _ = traced.send(PAST, "orders.retry")
    assert said(attributes(span)) == SAID


def test_a_past_that_is_passed_on_with_another_event_is_not_its_own(traced: Traced) -> None:
    span, sent = traced.send([traceparent(7), *PAST], "shipments")
    assert said(attributes(span)) == said(attributes(traced.process(record(sent, "shipments")))) == {}


def test_each_record_of_a_batch_says_its_past_and_its_schema_on_its_link(traced: Traced) -> None:
    records = [record(PAST, "orders.retry", value_schema="7"), record([], "orders.retry", delivery_attempt=4)]
    traced.chain.consume(Polled(CLIENT, records, 1))
    (first, second) = (dict(link.attributes or {}) for link in traced.finished()[-1].links)
    assert said(first) == SAID
    assert first[names.VALUE_SCHEMA] == "7"
    assert said(second) == {names.DELIVERY_ATTEMPT: 4}
    assert names.VALUE_SCHEMA not in second


def test_a_schema_is_on_the_send_and_on_the_processing(traced: Traced) -> None:
    span, _ = traced.send([], value=b"\x00\x00\x00\x00\x07payload")
    assert attributes(span)[names.VALUE_SCHEMA] == "7"
    assert attributes(traced.process(record([], key_schema="8")))[names.KEY_SCHEMA] == "8"
    span, _ = traced.send([])
    assert not {names.KEY_SCHEMA, names.VALUE_SCHEMA} & attributes(span).keys()


header_values = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.from_regex(rb"0[0-9a-f]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True),
)
header_names = st.one_of(
    st.sampled_from(["traceparent", "tracestate", "Traceparent", "ce_traceparent", "b"]), st.text()
)


@given(st.lists(st.tuples(header_names, header_values), max_size=4))
def test_the_quick_reader_finds_what_the_propagator_finds(given_headers: list[Header]) -> None:
    carried = headers.read(given_headers)
    found = trace.get_current_span(carried.context).get_span_context()
    assert read_spans(given_headers) == (found if found.is_valid else None, carried.others)


def test_propagators_are_chosen_by_the_standard_variable() -> None:
    program = """
from opentelemetry import trace
from flowtrail.tracer.headers import read, write
context = trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(1, 2, False)))
written = write([], context)
java = [("X-B3-TraceId", b"%032x" % 1), ("X-B3-SpanId", b"%016x" % 2), ("X-B3-Sampled", b"1")]
for given in (written[:1], written[1:], java):
    assert trace.get_current_span(read(given).context).get_span_context().span_id == 2, given
print(*(name for name, _ in written))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OTEL_PROPAGATORS": "tracecontext,baggage,b3multi"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stdout == "traceparent x-b3-traceid x-b3-spanid x-b3-sampled\n", finished.stderr

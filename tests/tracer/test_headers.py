"""Trace context survives the way through Kafka headers, and headers of others survive us."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context

from flowtrail.tracer.headers import Header, read, write

any_headers = st.lists(st.tuples(st.text(), st.one_of(st.none(), st.binary())))
span_contexts = st.builds(
    trace.SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.just(False),
    trace_flags=st.sampled_from([trace.TraceFlags(0), trace.TraceFlags(1)]),
)


def around(span_context: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context), Context())


def ids(context: Context) -> tuple[int, int, int]:
    found = trace.get_current_span(context).get_span_context()
    return found.trace_id, found.span_id, found.trace_flags


def traceparent(span_context: trace.SpanContext) -> Header:
    return write(None, around(span_context))[0]


@given(span_contexts)
def test_what_was_written_is_read(sent: trace.SpanContext) -> None:
    assert ids(read(write(None, around(sent))).context) == (sent.trace_id, sent.span_id, sent.trace_flags)


@given(any_headers)
def test_no_header_of_others_makes_reading_raise(headers: list[Header]) -> None:
    read(headers)


@given(any_headers, span_contexts)
def test_writing_changes_neither_the_callers_list_nor_other_headers(
    headers: list[Header], sent: trace.SpanContext
) -> None:
    before = list(headers)
    written = write(headers, around(sent))
    assert headers == before
    ours = {"traceparent", "tracestate", "baggage"}
    assert [h for h in written if h[0] not in ours] == [h for h in before if h[0] not in ours]


@given(span_contexts, span_contexts)
def test_a_context_that_the_caller_set_is_kept(callers: trace.SpanContext, current: trace.SpanContext) -> None:
    assert write([traceparent(callers)], around(current)) == [traceparent(callers)]


@given(span_contexts, span_contexts)
def test_a_context_that_was_copied_from_a_received_record_is_replaced(
    received: trace.SpanContext, current: trace.SpanContext
) -> None:
    written = write([traceparent(received)], around(current), received=[received])
    assert written == [traceparent(current)]


@given(st.lists(span_contexts, min_size=1, max_size=5))
def test_the_last_of_several_contexts_wins_and_the_others_become_links(
    attempts: list[trace.SpanContext],
) -> None:
    carried = read([traceparent(attempt) for attempt in attempts])
    assert ids(carried.context) == ids(around(attempts[-1]))
    assert [other.span_id for other in carried.others] == [a.span_id for a in attempts[:-1]]


def test_an_invalid_last_context_does_not_hide_a_valid_one() -> None:
    valid = trace.SpanContext(trace_id=1, span_id=2, is_remote=False)
    carried = read([traceparent(valid), ("traceparent", b"\xff\xfe"), ("traceparent", b"00-0-0-00")])
    assert ids(carried.context)[:2] == (1, 2)


def test_a_record_without_headers_belongs_to_no_trace() -> None:
    assert not trace.get_current_span(read(None).context).get_span_context().is_valid

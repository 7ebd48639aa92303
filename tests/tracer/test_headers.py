"""Trace context survives the way through Kafka headers, and headers of others survive us."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.headers import LONGEST_VALUE_BYTES, MOST_ATTEMPTS, Header, read, write
from flowtrail.tracer.origin import DEAD_LETTER_TO, RETRY_TO

any_headers = st.lists(st.tuples(st.text(), st.one_of(st.none(), st.binary())))
# What programs and other people's clients put there: wrong types, missing parts, and our own names with nonsense.
our_names = st.sampled_from(
    ["traceparent", "tracestate", "baggage", "Traceparent", "ce_traceparent", "ce_tracestate", "b3", "X-B3-TraceId"]
)
nonsense = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.binary(),
    st.binary(min_size=LONGEST_VALUE_BYTES, max_size=LONGEST_VALUE_BYTES + 1),
    st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True),
    st.from_regex(rb"[a-z]=[^,]*(,[a-z]=[^,]*){0,3}", fullmatch=True),
)
malformed_header = st.one_of(
    st.none(), st.integers(), st.text(), st.tuples(our_names), st.tuples(st.one_of(our_names, nonsense), nonsense)
)
malformed_headers = st.one_of(st.lists(malformed_header), st.dictionaries(our_names | st.text(), nonsense))
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
    return "traceparent", b"00-%032x-%016x-%02x" % (
        span_context.trace_id,
        span_context.span_id,
        span_context.trace_flags,
    )


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


@given(st.lists(span_contexts, min_size=1, max_size=5, unique_by=lambda each: (each.trace_id, each.span_id)))
def test_the_last_of_several_contexts_wins_and_the_others_become_links(
    attempts: list[trace.SpanContext],
) -> None:
    carried = read([traceparent(attempt) for attempt in attempts])
    assert ids(carried.context) == ids(around(attempts[-1]))
    assert [other.span_id for other in carried.others] == [a.span_id for a in attempts[:-1]]


@pytest.mark.parametrize("repeated", ["x-hop", "tracestate", "baggage", "ce_traceparent", "traceparent"])
def test_one_context_is_no_other_of_itself_whatever_is_repeated_beside_it(repeated: str) -> None:
    value = traceparent(A)[1] if repeated.endswith("traceparent") else b"a=b"
    carried = read([traceparent(A), *[(repeated, value)] * 5])
    assert ids(carried.context) == ids(around(A))
    assert carried.others == ()


def test_an_attempt_that_is_repeated_is_linked_once() -> None:
    carried = read([traceparent(A), traceparent(A), traceparent(B), traceparent(A), traceparent(B)])
    assert ids(carried.context) == ids(around(B))
    assert [other.span_id for other in carried.others] == [A.span_id]


def test_of_more_contexts_than_anyone_retries_the_newest_are_read() -> None:
    attempts = [trace.SpanContext(1, number, False, trace.TraceFlags(1)) for number in range(1, 1001)]
    carried = read([traceparent(attempt) for attempt in attempts])
    assert ids(carried.context)[1] == 1000
    assert [other.span_id for other in carried.others] == list(range(1001 - MOST_ATTEMPTS, 1000))


def test_headers_of_others_however_many_are_asked_about_once(use: Any) -> None:
    class Counting(TraceContextTextMapPropagator):
        extracted = 0

        def extract(self, *given: Any, **named: Any) -> Context:
            self.extracted += 1
            return super().extract(*given, **named)

    counting = Counting()
    use(counting)
    read([traceparent(A)])  # the propagator is asked for its names too, once
    before = counting.extracted
    read([traceparent(A), *[("x", b"1")] * 500, *[(f"h{number}", b"1") for number in range(500)]])
    assert counting.extracted == before + 1


def test_an_invalid_last_context_does_not_hide_a_valid_one() -> None:
    valid = trace.SpanContext(trace_id=1, span_id=2, is_remote=False)
    carried = read([traceparent(valid), ("traceparent", b"\xff\xfe"), ("traceparent", b"00-0-0-00")])
    assert ids(carried.context)[:2] == (1, 2)


def test_a_record_without_headers_belongs_to_no_trace() -> None:
    assert not trace.get_current_span(read(None).context).get_span_context().is_valid


@pytest.fixture
def use() -> Iterator[Callable[..., None]]:
    """Configure OpenTelemetry's propagators, as `OTEL_PROPAGATORS` does."""
    before = propagate.get_global_textmap()
    yield lambda *propagators: propagate.set_global_textmap(CompositePropagator(list(propagators)))
    propagate.set_global_textmap(before)


A = trace.SpanContext(trace_id=0xA, span_id=0xA1, is_remote=False, trace_flags=trace.TraceFlags(1))
B = trace.SpanContext(trace_id=0xB, span_id=0xB1, is_remote=False, trace_flags=trace.TraceFlags(1))


@given(malformed_headers, span_contexts)
def test_nothing_that_is_in_headers_makes_reading_or_writing_raise(headers: Any, sent: trace.SpanContext) -> None:
    failures = COUNTS.health().interceptor_errors
    carried = read(headers)
    written = write(headers, around(sent))
    # What is written can be read, unless the program's own context was kept.
    expected = ids(carried.context) if _holds_a_context_of_its_own(headers) else ids(around(sent))
    assert ids(read(written).context) == expected
    assert COUNTS.health().interceptor_errors == failures


def _holds_a_context_of_its_own(headers: Any) -> bool:
    pairs = headers.items() if isinstance(headers, dict) else headers
    own = [pair for pair in pairs if isinstance(pair, tuple) and str(pair[0]).lower() in ("traceparent", "tracestate")]
    return trace.get_current_span(read(own).context).get_span_context().is_valid


@given(malformed_headers, span_contexts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_makes_another_propagator_raise(use: Any, headers: Any, sent: trace.SpanContext) -> None:
    use(TraceContextTextMapPropagator(), W3CBaggagePropagator(), B3MultiFormat(), B3SingleFormat())
    failures = COUNTS.health().interceptor_errors
    read(write(headers, around(sent)))
    assert COUNTS.health().interceptor_errors == failures


@pytest.mark.parametrize("shape", [list, tuple, dict])
def test_the_callers_headers_stay_as_they_are_in_any_shape(shape: Any) -> None:
    headers = shape([("traceparent", traceparent(A)[1]), ("colour", b"red")])
    before = shape(headers)
    assert write(headers, around(B), received=[A]) == [("colour", b"red"), traceparent(B)]
    assert headers == before


def test_a_text_is_read_where_a_client_takes_texts() -> None:
    assert ids(read([("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")]).context)[:2] == (
        int("a" * 32, 16),
        int("b" * 16, 16),
    )


@pytest.mark.parametrize("name", ["Traceparent", "TRACEPARENT"])
def test_the_case_of_a_name_makes_no_difference(name: str) -> None:
    assert ids(read([(name, traceparent(A)[1])]).context) == ids(around(A))
    assert write([(name, traceparent(A)[1])], around(B), received=[A]) == [traceparent(B)]


# Trace state and baggage


def test_trace_state_travels_with_the_context() -> None:
    sent = trace.SpanContext(1, 2, False, trace.TraceFlags(1), TraceState([("vendor", "x"), ("other", "y")]))
    written = write(None, around(sent))
    assert ("tracestate", b"vendor=x,other=y") in written
    found = trace.get_current_span(read(written).context).get_span_context()
    assert found.trace_state == sent.trace_state


def test_the_trace_state_of_a_context_that_was_replaced_goes_with_it() -> None:
    copied = [traceparent(A), ("tracestate", b"vendor=old")]
    assert write(copied, around(B), received=[A]) == [traceparent(B)]


def test_baggage_of_a_copied_record_stays_and_new_baggage_replaces_it() -> None:
    copied = [traceparent(A), ("baggage", b"customer=7")]
    assert write(copied, around(B), received=[A]) == [("baggage", b"customer=7"), traceparent(B)]
    written = write(copied, baggage.set_baggage("customer", "8", around(B)), received=[A])
    assert [value for name, value in written if name == "baggage"] == [b"customer=8"]


def test_baggage_without_a_trace_is_read() -> None:
    assert baggage.get_all(read([("baggage", b"customer=7")]).context) == {"customer": "7"}


def test_more_baggage_than_anyone_reads_is_not_written_and_the_trace_is() -> None:
    context = around(A)
    for number in range(400):
        context = baggage.set_baggage(f"name{number}", "v" * 100, context)
    written = dict(write(None, context))
    assert written["traceparent"] == traceparent(A)[1]
    assert len(written.get("baggage") or b"") <= LONGEST_VALUE_BYTES


def test_oversized_baggage_of_another_program_is_passed_over_and_its_trace_is_not() -> None:
    carried = read([traceparent(A), ("baggage", b"k=" + b"v" * LONGEST_VALUE_BYTES)])
    assert ids(carried.context) == ids(around(A))
    assert baggage.get_all(carried.context) == {}


# Forwarded records


@pytest.mark.parametrize("name", [RETRY_TO, DEAD_LETTER_TO])
def test_the_context_of_a_forwarded_record_is_replaced_wherever_it_is_sent(name: str) -> None:
    forwarded = [traceparent(A), (name, b"orders.retry")]
    assert write(forwarded, around(B)) == [(name, b"orders.retry"), traceparent(B)]


# CloudEvents


def test_a_cloud_event_without_another_context_belongs_to_the_one_it_was_made_in() -> None:
    carried = read([("ce_id", b"7"), ("ce_traceparent", traceparent(A)[1]), ("ce_tracestate", b"vendor=x")])
    assert ids(carried.context) == ids(around(A))
    assert trace.get_current_span(carried.context).get_span_context().trace_state == TraceState([("vendor", "x")])
    assert carried.others == ()


def test_a_cloud_event_that_was_sent_on_belongs_to_the_send_and_links_its_making() -> None:
    carried = read([("ce_traceparent", traceparent(A)[1]), traceparent(B)])
    assert ids(carried.context) == ids(around(B))
    assert [other.span_id for other in carried.others] == [A.span_id]


def test_a_cloud_event_whose_two_contexts_are_one_is_linked_once() -> None:
    assert read([("ce_traceparent", traceparent(A)[1]), traceparent(A)]).others == ()


def test_a_cloud_events_own_context_is_never_changed_and_never_in_the_way() -> None:
    made = ("ce_traceparent", traceparent(A)[1])
    assert write([made], around(B)) == [made, traceparent(B)]
    assert write([made], around(B), received=[A]) == [made, traceparent(B)]


def test_a_cloud_event_keeps_the_baggage_of_its_record() -> None:
    carried = read([("ce_traceparent", traceparent(A)[1]), ("baggage", b"customer=7")])
    assert ids(carried.context) == ids(around(A))
    assert baggage.get_all(carried.context) == {"customer": "7"}


# Other propagators


@pytest.mark.parametrize("b3", [B3MultiFormat, B3SingleFormat])
def test_b3_is_written_and_read_where_it_is_configured(use: Any, b3: type[TextMapPropagator]) -> None:
    use(b3())
    written = write([("colour", b"red")], around(A))
    assert {name for name, _ in written} == {"colour", *b3().fields}
    assert ids(read(written).context) == ids(around(A))
    assert not ids(read([traceparent(A)]).context)[0]


def test_b3_as_java_writes_it_is_read(use: Any) -> None:
    use(B3MultiFormat())
    java = [("X-B3-TraceId", b"%032x" % A.trace_id), ("X-B3-SpanId", b"%016x" % A.span_id), ("X-B3-Sampled", b"1")]
    assert ids(read(java).context) == ids(around(A))
    replaced = write([*java, ("b3", b"0"), ("X-B3-Flags", b"1")], around(B), received=[A])
    assert replaced == write(None, around(B))


def test_two_propagators_together_write_both_and_read_either(use: Any) -> None:
    use(TraceContextTextMapPropagator(), W3CBaggagePropagator(), B3SingleFormat())
    written = write(None, around(A))
    assert {name for name, _ in written} == {"traceparent", "b3"}
    for one in written:
        assert ids(read([one]).context) == ids(around(A))


def test_a_context_copied_in_one_format_is_replaced_in_all(use: Any) -> None:
    use(B3SingleFormat())
    old = write(None, around(A))
    use(TraceContextTextMapPropagator(), B3SingleFormat())
    written = write(old, around(B), received=[A])
    assert sorted(name for name, _ in written) == ["b3", "traceparent"]
    assert ids(read(written).context) == ids(around(B))


class Broken(TextMapPropagator):
    """A propagator that somebody wrote in a hurry."""

    @property
    def fields(self) -> set[str]:
        raise ValueError("fields")

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
        raise ValueError("extract")

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        setter.set(carrier, "traceparent", "\u20ac")
        raise ValueError("inject")


def test_a_propagator_that_raises_is_counted_and_the_headers_stay(use: Any) -> None:
    use(Broken())
    failures = COUNTS.health().interceptor_errors
    assert ids(read([traceparent(A)]).context) == (0, 0, 0)
    assert write([("colour", b"red")], around(A))[0] == ("colour", b"red")
    assert COUNTS.health().interceptor_errors > failures

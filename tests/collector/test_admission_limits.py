"""Limits: the excess is dropped and counted, the span stays, and what is within them is not touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from flowtrail.collector.admission import PROTOBUF, Admission, Peer
from flowtrail.collector.admission.limits import Limits

from .otlp_bodies import attributes, body, link, request, span

LINK = link(b"t" * 16, b"s" * 8, {"a": 1, "b": 2, "c": 3})

few = st.integers(0, 4)
texts = st.text(max_size=12)
holders = st.dictionaries(texts, texts | st.integers(-9, 9), max_size=6)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    made = span(draw(holders), links=[link(b"t" * 16, b"s" * 8, draw(holders)) for _ in range(draw(few))])
    made.events.extend(Span.Event(name="e", attributes=attributes(draw(holders))) for _ in range(draw(few)))
    return made


limits = st.builds(Limits, spans=few, attributes=few, links=few, events=few, value_bytes=st.integers(0, 8))


def admitted(limits: Limits, sent: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(Admission(10**6, limits=limits).admit(sent, PROTOBUF, "", Peer()).body)


@given(st.lists(spans(), max_size=5), limits)
def test_whatever_comes_what_is_kept_is_within_the_limits_and_what_was_within_them_is_the_same(
    sent: list[Span], limits: Limits
) -> None:
    data = body(*sent)
    made = ExportTraceServiceRequest.FromString(data)
    over = limits.apply(made)
    after = Admission(10**6, limits=limits).admit(data, PROTOBUF, "", Peer())
    if over:
        assert limits.may_be_over(data)
        assert after.body == made.SerializeToString()
        assert after.rejected_spans == over["spans"]
    else:
        assert after.body == data
    again = ExportTraceServiceRequest.FromString(after.body)
    assert limits.apply(again) == {}
    for resource in again.resource_spans:
        for kept in resource.scope_spans[0].spans:
            assert not limits.links or len(kept.links) <= limits.links
            assert not limits.events or len(kept.events) <= limits.events
            for holder in (kept, *kept.links, *kept.events):
                assert not limits.attributes or len(holder.attributes) <= limits.attributes  # type: ignore[attr-defined]


def test_attributes_over_the_limit_go_and_are_counted_where_they_were() -> None:
    made = span({"a": 1, "b": 2, "c": 3}, links=[LINK])
    made.dropped_attributes_count = 4
    [kept] = admitted(Limits(attributes=2), body(made)).resource_spans[0].scope_spans[0].spans
    assert [attribute.key for attribute in kept.attributes] == ["a", "b"]
    assert (kept.dropped_attributes_count, kept.links[0].dropped_attributes_count) == (5, 1)


def test_links_and_events_over_the_limit_go_and_are_counted() -> None:
    made = span(links=[LINK] * 5)
    made.events.extend([Span.Event(name="e")] * 4)
    [kept] = admitted(Limits(links=2, events=3), body(made)).resource_spans[0].scope_spans[0].spans
    assert (len(kept.links), kept.dropped_links_count) == (2, 3)
    assert (len(kept.events), kept.dropped_events_count) == (3, 1)


def test_spans_over_the_limit_go_and_their_sender_is_told() -> None:
    admission = Admission(10**6, limits=Limits(spans=3))
    two = [request(*[span() for _ in range(2)]) for _ in range(2)]
    after = admission.admit(b"".join(each.SerializeToString() for each in two), PROTOBUF, "", Peer())
    left = ExportTraceServiceRequest.FromString(after.body)
    assert [len(resource.scope_spans[0].spans) for resource in left.resource_spans] == [2, 1]
    assert (after.rejected_spans, admission.altered) == (1, {"spans": 1})
    assert "3" in after.message


def test_the_attributes_of_resources_and_scopes_have_limits_too() -> None:
    made = request(span())
    made.resource_spans[0].scope_spans[0].scope.attributes.extend(attributes({"a": 1, "b": 2}))
    kept = admitted(Limits(attributes=1), made.SerializeToString()).resource_spans[0]
    assert (len(kept.resource.attributes), kept.resource.dropped_attributes_count) == (1, 1)
    assert (len(kept.scope_spans[0].scope.attributes), kept.scope_spans[0].scope.dropped_attributes_count) == (1, 1)


@pytest.mark.parametrize(
    ("value", "cut"),
    [
        (AnyValue(string_value="abcdé"), AnyValue(string_value="abcd")),
        (AnyValue(bytes_value=b"abcdef"), AnyValue(bytes_value=b"abcde")),
        (
            AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="abcdefg")])),
            AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="abcde")])),
        ),
        (
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(string_value="abcdefg"))])),
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(string_value="abcde"))])),
        ),
    ],
    ids=["half a character", "bytes", "list", "map"],
)
def test_a_value_over_the_limit_is_cut(value: AnyValue, cut: AnyValue) -> None:
    made = span()
    made.attributes.append(KeyValue(key="key", value=value))
    admission = Admission(10**6, limits=Limits(value_bytes=5))
    kept = ExportTraceServiceRequest.FromString(admission.admit(body(made), PROTOBUF, "", Peer()).body)
    assert kept.resource_spans[0].scope_spans[0].spans[0].attributes[0].value == cut
    assert admission.altered["values"] >= 1


def test_a_large_span_within_the_limits_is_not_encoded_anew() -> None:
    sent = body(span({f"k{n}": "v" * 50 for n in range(90)}))
    unusual = sent + b"\x9a\x06\x01x"  # a field that nobody knows, at the end, stays there
    assert Admission(10**6, limits=Limits(attributes=100)).admit(unusual, PROTOBUF, "", Peer()).body == unusual

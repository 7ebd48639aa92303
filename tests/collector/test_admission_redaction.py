"""Redaction: what a rule is for is gone before anything is written; what none is for stays as it came."""

import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from flowtrail.collector.admission import JSON, PROTOBUF, Admission, Peer
from flowtrail.collector.admission.redaction import BadRule, Redaction, parse_rule
from flowtrail.collector.admission.setup import BadRedaction, admission_of
from flowtrail.collector.settings import Settings

from .otlp_bodies import AttributeValue, attributes, body, link, request, span

SECRET = b"kept apart"
CARD = "4111111111111111"


def admission_with(*rules: str) -> Admission:
    return Admission(10**6, redaction=Redaction(map(parse_rule, rules), SECRET))


def redacted(made: Span, *rules: str) -> Span:
    after = admission_with(*rules).admit(body(made), PROTOBUF, "", Peer()).body
    [kept] = ExportTraceServiceRequest.FromString(after).resource_spans[0].scope_spans[0].spans
    return kept


def told(kept: Span) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in kept.attributes}


def hashed(text: str) -> str:
    return hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest()[:32]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("drop key:enduser.id", {"note": f"paid by {CARD}."}),
        ("mask key:enduser.*", {"enduser.id": "***", "note": f"paid by {CARD}."}),
        ("hash key:*user.id", {"enduser.id": hashed("ann"), "note": f"paid by {CARD}."}),
        (r"drop value:\d{16}", {"enduser.id": "ann"}),
        (r"mask value:\d{16}", {"enduser.id": "ann", "note": "paid by ***."}),
        (r"hash value:\d{16}", {"enduser.id": "ann", "note": f"paid by {hashed(CARD)}."}),
        ("mask key:Enduser.id", {"enduser.id": "ann", "note": f"paid by {CARD}."}),
    ],
)
def test_a_rule_does_what_it_says(rule: str, expected: dict[str, str]) -> None:
    assert told(redacted(span({"enduser.id": "ann", "note": f"paid by {CARD}."}), rule)) == expected


def test_the_first_rule_for_a_key_wins() -> None:
    assert told(redacted(span({"enduser.id": "ann"}), "mask key:enduser.id", "drop key:*")) == {"enduser.id": "***"}


def test_values_that_are_no_text_are_hashed_by_their_bytes() -> None:
    [one] = told(redacted(span({"n": 5}), "hash key:n")).values()
    [other] = told(redacted(span({"n": 6}), "hash key:n")).values()
    assert len(one) == 32
    assert one != other


@pytest.mark.parametrize("rule", ["drop key:secret", f"drop value:{CARD}", f"mask value:{CARD}", "hash key:sec*"])
def test_no_place_keeps_what_a_rule_is_for(rule: str) -> None:
    values: dict[str, AttributeValue] = {"secret": CARD}
    inner = KeyValueList(values=attributes(values))
    made = span(values, links=[link(b"t" * 16, b"s" * 8, values)])
    made.events.append(Span.Event(name="e", attributes=attributes(values)))
    made.attributes.append(KeyValue(key="map", value=AnyValue(kvlist_value=inner)))
    whole = request(made)
    whole.resource_spans[0].resource.attributes.extend(attributes(values))
    whole.resource_spans[0].scope_spans[0].scope.attributes.extend(attributes(values))
    admission = admission_with(rule)
    kept = admission.admit(whole.SerializeToString(), PROTOBUF, "", Peer()).body
    assert CARD.encode() not in kept
    assert admission.altered["redacted"] == 6


def test_names_and_messages_are_searched_for_values_too() -> None:
    made = span(name=f"pay {CARD}")
    made.status.message = f"{CARD} was refused"
    made.events.append(Span.Event(name=f"refused {CARD}"))
    kept = redacted(made, f"mask value:{CARD}")
    assert (kept.name, kept.status.message, kept.events[0].name) == ("pay ***", "*** was refused", "refused ***")


def test_json_is_redacted_as_protobuf_is() -> None:
    sent = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"secret","value":{"stringValue":"x"}}]}}]}'
    assert b"secret" not in admission_with("drop key:secret").admit(sent, JSON, "", Peer()).body


@given(
    st.dictionaries(st.text("abs.", max_size=4), st.text("0123 ", max_size=6), max_size=5),
    st.sampled_from(["drop key:a.b", "hash key:a*", "mask key:?b", r"mask value:1+", r"drop value:^0"]),
)
def test_what_no_rule_is_for_stays_byte_for_byte(values: dict[str, str], rule: str) -> None:
    sent = body(span({**values}))
    admission = admission_with(rule)
    after = admission.admit(sent, PROTOBUF, "", Peer()).body
    pattern = parse_rule(rule).pattern
    concerns = any(pattern.match(key) if "key:" in rule else pattern.search(value) for key, value in values.items())
    assert (after == sent) is not concerns
    assert bool(admission.altered) is concerns


def test_a_body_without_the_key_is_not_even_looked_into() -> None:
    redaction = Redaction([parse_rule("drop key:http.request.header.*"), parse_rule("mask key:?user")])
    assert not redaction.touches(body(span({"http.request.method": "GET"})))
    assert redaction.touches(body(span({"http.request.header.cookie": "x"})))


@pytest.mark.parametrize("text", ["", "drop", "drop key:", "burn key:a", "drop name:a", "mask value:("])
def test_what_is_no_rule_is_refused_by_its_words(text: str) -> None:
    with pytest.raises(BadRule, match="regular expression" if "(" in text else re.escape(repr(text))):
        parse_rule(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"redact": ["burn key:a"]}, "burn"), ({"redact": ["hash key:a"]}, "redact-secret-file")],
)
def test_wrong_rules_stop_the_start(options: dict[str, list[str]], words: str) -> None:
    with pytest.raises(BadRedaction, match=words):
        admission_of(Settings(**options))  # type: ignore[arg-type]


def test_settings_make_an_admission_that_redacts_with_the_secret_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    settings = Settings(redact=("hash key:user",), redact_secret_file=str(file))
    for text, words in ((None, "cannot be read"), ("short\n", "shorter")):
        if text is not None:
            file.write_text(text)
        with pytest.raises(BadRedaction, match=words):
            admission_of(settings)
    file.write_text("sixteen bytes or more\n")
    after = admission_of(settings).admit(body(span({"user": "ann"})), PROTOBUF, "", Peer()).body
    expected = hmac.new(b"sixteen bytes or more", b"ann", hashlib.sha256).hexdigest()[:32]
    assert expected.encode() in after

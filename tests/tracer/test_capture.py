"""What is noted of a record's content is what was chosen, seen first by the program's own redaction."""

import hashlib
import hmac
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.tracer.capture import LONGEST, captured_headers, captured_key, key_text, redacted
from flowtrail.tracer.configuration import Configuration
from flowtrail.tracer.counts import COUNTS

NUMBER = uuid.UUID("12345678-1234-5678-1234-567812345678")
TEXT, HASH, OFF = (Configuration(capture_keys=choice) for choice in ("text", "hash", "off"))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=LONGEST))
def test_text_is_noted_as_it_is_however_it_was_sent(key: str) -> None:
    assert (
        captured_key(key, TEXT)
        == captured_key(key.encode(), TEXT)
        == captured_key(bytearray(key.encode()), TEXT)
        == key
    )


@given(st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.lists(st.binary()))
def test_whatever_a_key_is_nothing_is_raised_and_what_is_noted_can_be_written(key: object) -> None:
    for configuration in (TEXT, HASH, OFF, Configuration(redact=lambda name, text: text[:1])):
        (captured_key(key, configuration) or "").encode()


@pytest.mark.parametrize("key", [None, True, 1.5, {"id": 7}, ("a",), object(), "x" * (LONGEST + 1), b"\xff", "\ud800"])
def test_a_key_without_a_canonical_text_is_not_noted(key: object) -> None:
    assert captured_key(key, TEXT) is None


@pytest.mark.parametrize(("key", "text"), [(42, "42"), (NUMBER, str(NUMBER)), ("", ""), (b"", "")])
def test_numbers_and_uuids_have_a_text(key: object, text: str) -> None:
    assert captured_key(key, TEXT) == key_text(key) == text


@pytest.mark.parametrize("key", [42, "42", b"42", bytearray(b"42")])
def test_the_hash_is_the_same_however_a_key_is_sent(key: object) -> None:
    assert captured_key(key, HASH) == hashlib.sha256(b"42").hexdigest()[:16]


@pytest.mark.parametrize("key", [b"\xff\x00", "x" * (LONGEST + 1)])
def test_a_key_that_is_no_attribute_has_a_hash_that_is(key: object) -> None:
    assert len(captured_key(key, HASH) or "") == 16


@pytest.mark.parametrize("key", [None, True, 1.5, object()])
def test_what_has_neither_text_nor_bytes_has_no_hash(key: object) -> None:
    assert captured_key(key, HASH) is None


def test_with_a_secret_the_hash_cannot_be_guessed_without_it() -> None:
    keyed = captured_key("42", Configuration(capture_keys="hash", hash_secret="pepper"))
    assert keyed == hmac.new(b"pepper", b"42", "sha256").hexdigest()[:16]
    assert keyed != captured_key("42", HASH)


def test_off_notes_no_key() -> None:
    assert captured_key("order-7", OFF) is None


def test_redaction_sees_the_attribute_and_the_text_before_it_is_hashed() -> None:
    seen: list[tuple[str, str]] = []

    def mask(name: str, text: str) -> str:
        seen.append((name, text))
        return text.split("@")[0]

    assert captured_key(b"jo@x.org", Configuration(redact=mask)) == "jo"
    assert captured_key("jo@x.org", Configuration(redact=mask, capture_keys="hash")) == captured_key("jo", HASH)
    assert seen == [("messaging.kafka.message.key", "jo@x.org")] * 2


@pytest.mark.parametrize("capture_keys", ["text", "hash"])
def test_what_redaction_answers_with_none_is_left_out(capture_keys: str) -> None:
    chosen = Configuration(capture_keys=capture_keys, redact=lambda name, text: None)  # type: ignore[arg-type]
    assert captured_key("jo@x.org", chosen) is None


def test_a_redaction_that_fails_leaves_the_text_out_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str, text: str) -> str:
        raise LookupError(name)

    before = COUNTS.health().interceptor_errors
    chosen = Configuration(redact=broken, capture_headers=("tenant",))
    assert captured_key("jo@x.org", chosen) is None
    assert captured_headers([("tenant", b"a")], chosen) == {}
    assert COUNTS.health().interceptor_errors == before + 2


def test_a_redaction_that_returns_no_text_leaves_it_out_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    before = COUNTS.health().interceptor_errors
    assert redacted("key", "a", Configuration(redact=lambda name, text: 7)) is None  # type: ignore[arg-type, return-value]
    assert COUNTS.health().interceptor_errors == before + 1


def test_only_headers_that_are_asked_for_are_noted_every_value_in_order() -> None:
    headers = [("tenant", b"a"), ("password", b"p"), ("tenant", "é".encode()), ("Tenant", b"c"), ("tenant", None)]
    assert captured_headers(headers, Configuration(capture_headers=("tenant", "reply-to"))) == {
        "messaging.header.tenant": ("a", "é")
    }
    assert captured_headers(headers, Configuration()) == {}


def test_redaction_sees_each_header() -> None:
    chosen = Configuration(capture_headers=("a", "b"), redact=lambda name, text: None if name.endswith("b") else "***")
    assert captured_headers([("a", b"1"), ("b", b"2")], chosen) == {"messaging.header.a": ("***",)}


@given(st.lists(st.one_of(st.tuples(st.text(), st.binary() | st.none() | st.text()), st.integers(), st.just(([], 1)))))
def test_headers_of_any_kind_raise_nothing(headers: list[object]) -> None:
    for value in captured_headers(headers, Configuration(capture_headers=("", "0", "a"))).values():  # type: ignore[arg-type]
        assert all(isinstance(text, str) for text in value)


@pytest.mark.parametrize("value", [b"\xff", "x" * (LONGEST + 1), None, 7])
def test_a_header_that_is_no_text_or_too_long_is_passed_over(value: object) -> None:
    assert captured_headers([("a", value)], Configuration(capture_headers=("a",))) == {}  # type: ignore[list-item]

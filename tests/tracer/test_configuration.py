"""What can be chosen is chosen by variables, or stronger by arguments; what cannot be understood changes nothing."""

import os
import pickle
from typing import Any

import pytest

from flowtrail.tracer.configuration import VARIABLES, Configuration, InForce, Options, from_environment, variable_name


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FLOWTRAIL_"):
            monkeypatch.delenv(name)


def test_without_variables_the_defaults_count() -> None:
    assert InForce().now == Configuration()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("FLOWTRAIL_CAPTURE_KEYS", "hash", "hash"),
        ("FLOWTRAIL_CAPTURE_KEYS", " OFF ", "off"),
        ("FLOWTRAIL_HASH_SECRET", "pepper", "pepper"),
        ("FLOWTRAIL_CAPTURE_HEADERS", "tenant, Reply-To,,", ("tenant", "Reply-To")),
        ("FLOWTRAIL_EXCLUDED_TOPICS", "metrics.*,__*", ("metrics.*", "__*")),
        ("FLOWTRAIL_PROCESS_RELATION", "parent", "parent"),
        ("FLOWTRAIL_INFER_PROCESSING", "false", False),
        ("FLOWTRAIL_FORWARD_ERROR_MESSAGES", "no", False),
        ("FLOWTRAIL_FAST_PATH", "0", False),
        ("FLOWTRAIL_FAST_PATH", "True", True),
    ],
)
def test_a_variable_sets_its_option(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(name, text)
    assert getattr(InForce().now, name.removeprefix("FLOWTRAIL_").lower()) == value


def test_what_functions_take_by_name_are_the_options() -> None:
    assert Options.__annotations__.keys() == Configuration.__dataclass_fields__.keys()


def test_every_option_but_a_function_has_a_variable() -> None:
    named = {variable_name(option) for option in Configuration.__dataclass_fields__ if option != "redact"}
    assert named == VARIABLES


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("FLOWTRAIL_CAPTURE_KEYS", "sometimes", "one of text, hash, off"),
        ("FLOWTRAIL_PROCESS_RELATION", "child", "one of link, parent"),
        ("FLOWTRAIL_INFER_PROCESSING", "perhaps", "true or false"),
    ],
)
def test_a_variable_that_makes_no_sense_is_told_of_once_and_the_default_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(name, text)
    in_force = InForce()
    in_force.configure({})
    assert in_force.now == Configuration()
    assert caplog.messages == [f"{name}: {text!r} is not {expected}; the default counts"]


def test_a_variable_that_makes_no_sense_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWTRAIL_CAPTURE_KEYS", "sometimes")
    monkeypatch.setenv("FLOWTRAIL_FAST_PATH", "false")
    assert InForce().now == Configuration(fast_path=False)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_counts_as_one_that_is_not_set(text: str) -> None:
    assert from_environment(dict.fromkeys(VARIABLES, text)) == ({}, [])


def test_an_argument_is_stronger_than_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWTRAIL_CAPTURE_KEYS", "hash")
    in_force = InForce()
    in_force.configure({"capture_keys": "off"})
    assert in_force.now.capture_keys == "off"


def test_variables_that_a_program_sets_before_it_configures_count(monkeypatch: pytest.MonkeyPatch) -> None:
    in_force = InForce()
    monkeypatch.setenv("FLOWTRAIL_CAPTURE_KEYS", "hash")
    in_force.configure({})
    assert in_force.now.capture_keys == "hash"


def test_what_was_given_once_stays_until_it_is_given_anew() -> None:
    in_force = InForce()
    in_force.configure({"capture_keys": "off", "fast_path": False})
    in_force.configure({"fast_path": True})
    assert in_force.now == Configuration(capture_keys="off")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"capture_key": "off"}, TypeError, "there is no option capture_key"),
        ({"capture_keys": "sometimes"}, ValueError, "capture_keys is one of text, hash, off, not 'sometimes'"),
        ({"capture_keys": None}, TypeError, "capture_keys is a text, one of text, hash, off, not None"),
        ({"capture_headers": "tenant"}, TypeError, "capture_headers is a tuple of texts, not 'tenant'"),
        ({"excluded_topics": [b"a"]}, TypeError, "excluded_topics is a tuple of texts, not [b'a']"),
        ({"infer_processing": "no"}, TypeError, "infer_processing is True or False, not 'no'"),
        ({"redact": "***"}, TypeError, "redact is a function or None, not '***'"),
        ({"hash_secret": b"pepper"}, TypeError, "hash_secret is a text, not a bytes"),
    ],
)
def test_a_wrong_argument_is_an_error_at_once_and_changes_nothing(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    in_force = InForce()
    before = in_force.now
    with pytest.raises(error) as raised:
        in_force.configure({"fast_path": False} | options)
    assert str(raised.value) == said
    in_force.configure({})
    assert in_force.now == before


def test_a_topic_is_excluded_by_any_pattern_and_its_case_counts() -> None:
    chosen = Configuration(excluded_topics=("metrics.*", "audit-?"))
    assert [chosen.is_excluded(topic) for topic in ("metrics.cpu", "audit-1", "audit-12", "Metrics.cpu", "orders")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not Configuration().is_excluded("metrics.cpu")
    assert not Configuration(excluded_topics=("*",)).is_excluded(None)


def test_lists_are_taken_and_kept_as_tuples() -> None:
    names = ["tenant"]
    chosen = Configuration(capture_headers=names)  # type: ignore[arg-type]
    names.append("password")
    assert chosen.capture_headers == ("tenant",)


def test_the_secret_is_not_in_what_is_printed() -> None:
    chosen = Configuration(hash_secret="pepper")
    assert "pepper" not in repr(chosen)
    assert pickle.loads(pickle.dumps(chosen)) == chosen


@pytest.mark.parametrize("option", Configuration.__dataclass_fields__.values(), ids=lambda option: option.name)
def test_every_option_has_a_sentence(option: Any) -> None:
    assert option.type.__metadata__[0].endswith(".")

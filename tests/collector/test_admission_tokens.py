"""Who may send: a token of the file lets in, nothing else does, and the file may change while the collector runs."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrail.collector.admission import PROTOBUF, UNAUTHENTICATED, Admission, Peer, Refusal
from flowtrail.collector.admission.tokens import LOOK_AGAIN_S, BadTokens, Tokens, read_tokens

from .otlp_bodies import body, span

CHECKOUT = "6f1c0b7e9d2a4c58"
PAYMENTS = "91ab3e20c7d64f15"
PAYMENTS_NEXT = "77d2c4f8e1b93a60"
SENT = body(span())


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "tokens"
    written.write_text(f"# who may send\ncheckout {CHECKOUT}\n\npayments\t{PAYMENTS}  # this month's\n")
    return written


def rewrite(path: Path, text: str) -> None:
    """Put another file in its place, as secrets are mounted."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_a_token_gives_its_senders_name(path: Path) -> None:
    tokens = Tokens(path)
    assert tokens.name_of(f"Bearer {CHECKOUT}") == "checkout"
    assert tokens.name_of(f"bearer  {PAYMENTS} ") == "payments"


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        CHECKOUT,
        f"Basic {CHECKOUT}",
        f"Bearer {CHECKOUT[:-1]}",
        f"Bearer {CHECKOUT}0",
        "Bearer \ud800",
    ],
)
def test_what_is_no_token_of_the_file_gives_none(path: Path, shown: str) -> None:
    assert Tokens(path).name_of(shown) is None


@given(st.text())
def test_no_text_raises(shown: str) -> None:
    tokens = Tokens(Path(__file__).parent.parent / "data" / "tokens")
    assert tokens.name_of(shown) is None
    assert tokens.name_of(f"Bearer {shown}") is None


def test_a_name_may_have_two_tokens_while_it_changes_them(path: Path) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)
    rewrite(path, f"payments {PAYMENTS}\npayments {PAYMENTS_NEXT}\n")
    clock.now_s += LOOK_AGAIN_S
    assert tokens.name_of(f"Bearer {PAYMENTS}") == tokens.name_of(f"Bearer {PAYMENTS_NEXT}") == "payments"
    rewrite(path, f"payments {PAYMENTS_NEXT}\n")
    clock.now_s += LOOK_AGAIN_S
    assert tokens.name_of(f"Bearer {PAYMENTS}") is None
    assert tokens.name_of(f"Bearer {PAYMENTS_NEXT}") == "payments"


@pytest.mark.parametrize("text", ["", "payments\n", "payments short\n", f"one {CHECKOUT} more\n"])
def test_a_file_that_went_wrong_is_told_once_and_leaves_the_tokens_as_they_were(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)
    rewrite(path, text)
    for _ in range(3):
        clock.now_s += LOOK_AGAIN_S
        assert tokens.name_of(f"Bearer {CHECKOUT}") == "checkout"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert CHECKOUT not in caplog.text


def test_a_file_that_is_gone_leaves_the_tokens_as_they_were(path: Path) -> None:
    clock = Clock()
    tokens = Tokens(path, clock)
    path.unlink()
    clock.now_s += LOOK_AGAIN_S
    assert tokens.name_of(f"Bearer {CHECKOUT}") == "checkout"


def test_a_token_of_two_names_is_refused_without_being_shown(path: Path) -> None:
    path.write_text(f"checkout {CHECKOUT}\npayments {CHECKOUT}\n")
    with pytest.raises(BadTokens, match="line 2") as refused:
        read_tokens(path)
    assert CHECKOUT not in str(refused.value)


def test_a_start_without_the_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadTokens, match="cannot be read"):
        Tokens(tmp_path / "tokens")


@pytest.mark.parametrize("shown", ["", "Bearer nothing-that-is-known"])
def test_a_stranger_is_refused_before_and_with_the_body(path: Path, shown: str) -> None:
    admission = Admission(10_000, tokens=Tokens(path))
    for ask in (
        lambda: admission.welcome(Peer("", shown)),
        lambda: admission.admit(SENT, PROTOBUF, "", Peer("", shown)),
        lambda: admission.unfold(SENT, "", Peer("", shown)),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        assert (refused.value.status, refused.value.code, refused.value.reason) == (401, UNAUTHENTICATED, "token")
        assert refused.value.retry_after_s is None


def test_who_has_a_token_is_let_in_by_name(path: Path) -> None:
    admission = Admission(10_000, tokens=Tokens(path))
    peer = admission.welcome(Peer("", f"Bearer {CHECKOUT}"))
    assert peer.name == "checkout"
    assert admission.admit(SENT, PROTOBUF, "", peer).body == SENT


def test_without_tokens_anybody_is_let_in_without_a_name() -> None:
    assert Admission(10_000).welcome(Peer()).name == ""

"""Rates: a sender may send so much a second, and hears when to come again; another's sending is not felt."""

from pathlib import Path

import pytest

from flowtrail.collector.admission import PROTOBUF, RESOURCE_EXHAUSTED, Admission, Peer, Refusal
from flowtrail.collector.admission.rates import BURST_S, Rates
from flowtrail.collector.admission.tokens import Tokens

from .otlp_bodies import body, span


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_who_sent_too_much_hears_when_to_come_again_and_may_then() -> None:
    clock = Clock()
    rates = Rates(100, clock)
    rates.check("a")
    rates.spend("a", BURST_S * 100 + 250)
    with pytest.raises(Refusal) as refused:
        rates.check("a")
    assert (refused.value.status, refused.value.code, refused.value.reason) == (429, RESOURCE_EXHAUSTED, "rate")
    assert refused.value.retry_after_s == 3
    rates.check("b")
    clock.now_s += 3
    rates.check("a")


def test_what_is_saved_up_is_ten_seconds_worth_at_most() -> None:
    clock = Clock()
    rates = Rates(100, clock)
    rates.check("a")
    clock.now_s += 3600
    rates.spend("a", BURST_S * 100 + 1)
    with pytest.raises(Refusal):
        rates.check("a")


def test_admission_counts_by_the_name_of_the_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("one 6f1c0b7e9d2a4c58\ntwo 91ab3e20c7d64f15\n")
    admission = Admission(10**6, tokens=Tokens(file), rates=Rates(1, Clock()))
    one, two = Peer("", "Bearer 6f1c0b7e9d2a4c58"), Peer("", "Bearer 91ab3e20c7d64f15")
    admission.admit(body(span()), PROTOBUF, "", admission.welcome(one))
    with pytest.raises(Refusal, match="a second"):
        admission.welcome(one)
    assert admission.welcome(two).name == "two"

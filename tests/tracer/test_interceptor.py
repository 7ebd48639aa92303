"""Interceptors run beside the tracing, and none can harm the program."""

import logging
from collections.abc import Sequence

import pytest

from flowtrail.tracer.counts import Counts
from flowtrail.tracer.interceptor import Chain, Interceptor
from flowtrail.tracer.record import Acknowledged, Client, Closed, Committed, Event, Header, Outgoing, Polled
from flowtrail.tracer.under_way import Sending, Transaction


def send(chain: Chain, headers: Sequence[Header] | None = None) -> Sending:
    return chain.send(Client(), "orders", None, b"value", headers)


class Tracing:
    """Stands where tracing does: adds one header to each record."""

    def start_send(self, sending: Sending, topic: str, key: object, value: object, partition: int | None) -> None:
        sending.headers = [*(sending.headers or ()), ("tracing", b"")]

    def finish_send(
        self, sending: Sending, partition: int | None, offset: int | None, error: BaseException | None
    ) -> None: ...

    def polled(self, polled: Polled) -> None: ...

    def committed(self, committed: Committed) -> None: ...

    def closed(self, closed: Closed) -> None: ...

    def rebalanced(self, client: Client, events: Sequence[Event]) -> None: ...

    def begin_transaction(self, transaction: Transaction) -> None: ...

    def end_transaction(self, transaction: Transaction, outcome: str, error: BaseException | None) -> None: ...


class Adding(Interceptor):
    """Adds one header; overrides nothing else."""

    def __init__(self, header: Header) -> None:
        self._header = header

    def on_send(self, outgoing: Outgoing) -> Sequence[Header]:
        return [*outgoing.headers, self._header]


class Returning(Interceptor):
    def __init__(self, headers: object) -> None:
        self._headers = headers

    def on_send(self, outgoing: Outgoing) -> Sequence[Header] | None:
        return self._headers  # type: ignore[return-value]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    monkeypatch.setattr("flowtrail.tracer.interceptor.COUNTS", counts)
    return counts


def test_interceptors_run_in_the_order_in_which_they_were_added_and_the_last_one_last() -> None:
    chain = Chain(last=Tracing())
    for name in ("a", "b"):
        chain.add(Adding((name, b"")))
    assert [name for name, _ in send(chain).headers] == ["a", "b", "tracing"]


def test_an_interceptor_is_added_once_and_removed_for_good() -> None:
    chain, adding = Chain(), Adding(("a", b""))
    chain.add(adding)
    chain.add(adding)
    assert len(send(chain).headers) == 1
    chain.remove(adding)
    chain.remove(adding)
    assert send(chain).headers is None


def test_returning_nothing_leaves_the_very_same_headers() -> None:
    chain, headers = Chain(), [("a", b"1")]
    chain.add(Interceptor())
    assert send(chain, headers).headers is headers


@pytest.mark.parametrize("headers", [[("a", "text")], [("a", None)], [["a", b""]], [("a",)], [1], 1, "ab"], ids=repr)
def test_headers_that_the_client_would_refuse_are_left_out_and_counted(counts: Counts, headers: object) -> None:
    chain = Chain()
    chain.add(Returning(headers))
    assert send(chain, [("kept", b"1")]).headers == [("kept", b"1")]
    assert counts.health().interceptor_errors == 1


def test_a_header_without_a_value_that_the_caller_sends_may_stay() -> None:
    chain = Chain()
    chain.add(Adding(("b", b"")))
    assert send(chain, [("a", None)]).headers == [("a", None), ("b", b"")]


class Raising(Interceptor):
    def __init__(self) -> None:
        self.error: Exception = ValueError("no")

    def on_send(self, outgoing: Outgoing) -> Sequence[Header]:
        raise self.error

    def on_acknowledgement(self, acknowledged: Acknowledged) -> None:
        raise self.error

    def on_consume(self, polled: Polled) -> None:
        raise self.error

    def on_commit(self, committed: Committed) -> None:
        raise self.error


def test_an_exception_is_counted_each_time_and_logged_once_for_each_kind(
    counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    chain, raising = Chain(), Raising()
    chain.add(raising)
    for error in (ValueError("no"), ValueError("no again"), KeyError("other")):
        raising.error = error
        sending = send(chain)
        chain.acknowledge(sending)
        chain.consume(Polled(Client(), [], 0))
        chain.commit(Committed(Client(), {}, 0))
    assert counts.health().interceptor_errors == 12
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    methods = ("on_send", "on_acknowledgement", "on_consume", "on_commit")
    assert [message.split(";")[0] for message in logged] == [
        f"Raising.{method} raised {kind}" for kind in ("ValueError", "KeyError") for method in methods
    ]


def test_the_others_still_run_after_one_that_raised(counts: Counts) -> None:
    chain = Chain(last=Tracing())
    chain.add(Raising())
    chain.add(Adding(("after", b"")))
    assert [name for name, _ in send(chain).headers] == ["after", "tracing"]


@pytest.mark.parametrize(("thing", "named"), [(5, "not 5"), (None, "not None"), (Raising, "not the class Raising")])
def test_what_is_no_interceptor_is_refused_when_it_is_added(counts: Counts, thing: object, named: str) -> None:
    chain = Chain(last=Tracing())
    with pytest.raises(TypeError, match=named):
        chain.add(thing)  # type: ignore[arg-type]
    assert [name for name, _ in send(chain).headers] == ["tracing"]
    assert counts.health().interceptor_errors == 0

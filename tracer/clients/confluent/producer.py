"""The traced producer: a span from the call of `produce` to the delivery report. Its length is the time in the queue.

Reports come when the program polls or flushes, as ever; the program's own callback gets them as if we were not there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    cimpl,
)

from flowtrail.tracer.clients.closing import Closing
from flowtrail.tracer.clients.known import is_known, known_of
from flowtrail.tracer.clients.lighter_headers import lighter_headers
from flowtrail.tracer.clients.switch import Switch
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.record import Unacknowledged
from flowtrail.tracer.tracing import CHAIN
from flowtrail.tracer.under_way import Sending

from .batch import produce_batch
from .classes import construct
from .known import WHERE, Known, configuration
from .transactions import abort_transaction, begin_transaction, commit_transaction, send_offsets_to_transaction

Callback = Callable[[Any, Any], Any] | None


class _NotGiven:
    def __repr__(self) -> str:
        return "<not given>"


# The client tells a callback that is None from one that is not given.
NOT_GIVEN: Final = _NotGiven()


def producer_methods(plain: Any, switch: Switch) -> dict[str, Callable[..., Any]]:
    """Return the traced methods of a producer; switched off, they call those of `plain` and no more."""
    original_produce = plain.produce

    def __init__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        construct(plain, self, arguments, options)
        if switch.is_on:
            try:
                known_of(self, Known).configure(configuration(arguments, options))
            except Exception as error:
                COUNTS.fail(WHERE, "__init__", error)

    def produce(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        # At every record, so it takes few steps: with the report's part it costs about a microsecond.
        if not switch.is_on:
            return original_produce(self, *arguments, **options)
        try:
            topic, value, key, partition, callback, timestamp, headers = _bind(*arguments, **options)
        except TypeError:  # for the client to say, in its own words
            return original_produce(self, *arguments, **options)
        try:
            known = known_of(self, Known)
            given = headers if headers is None else header_pairs(headers)
            sending = CHAIN.send(
                known.client(),
                topic,
                key,
                value,
                given,
                partition if type(partition) is int and partition >= 0 else None,
                timestamp or None,
                known.transaction,
            )
            known.unanswered.add(sending)
            # What we could not read goes as it is: the client will say what is wrong with it.
            sent = sending.headers if given is not None or headers is None else headers
            report = _report(known, sending, callback)
        except Exception as error:
            COUNTS.fail(WHERE, "produce", error)
            return original_produce(self, *arguments, **options)
        try:
            try:
                return original_produce(self, topic, value, key, partition, report, None, timestamp, sent)
            except KafkaException as error:
                if sent is headers or not _is_too_large(error):
                    raise
            send = partial(original_produce, self, topic, value, key, partition, report, None, timestamp)
            return _send_lighter(send, lighter_headers(sending, given), headers)
        except BaseException as error:
            known.answer(sending, error=error)
            raise
        finally:
            if report is None:
                known.answer(sending, error=Unacknowledged("a producer older than its tracing: its reports go unseen"))

    def close(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return _close(self, switch, plain.close, arguments, options)

    def __exit__(self, /, *arguments, **options):  # type: ignore[no-untyped-def]
        return _close(self, switch, plain.__exit__, arguments, options)

    return {
        "__init__": __init__,
        "produce": produce,
        "produce_batch": produce_batch(plain, switch),
        "close": close,
        "__exit__": __exit__,
        "begin_transaction": begin_transaction(plain, switch),
        "commit_transaction": commit_transaction(plain, switch),
        "abort_transaction": abort_transaction(plain, switch),
        "send_offsets_to_transaction": send_offsets_to_transaction(plain, switch),
    }


def _bind(
    topic: Any,
    value: Any = None,
    key: Any = None,
    partition: Any = -1,
    callback: Any = NOT_GIVEN,
    on_delivery: Any = None,
    timestamp: Any = 0,
    headers: Any = None,
) -> tuple[Any, ...]:
    """Return the arguments of `produce` in order, with one callback. Raises TypeError where they do not fit."""
    if callback is NOT_GIVEN:
        callback = on_delivery
    return topic, value, key, partition, callback, timestamp, headers


def _report(known: Known, sending: Sending, theirs: Callback) -> Callable[..., Any] | None:
    """What the client is to call with the delivery report; None: whatever it would have called without us."""
    if theirs is None:
        theirs = known.on_delivery
        if theirs is None and not known.is_configured:
            return None
    if known.reports_errors_only:
        return _Failed(known, sending, theirs)
    return partial(delivered, known, sending, theirs)


def delivered(known: Known, sending: Sending, theirs: Callback, error: Any, message: Any) -> Any:
    """Take a delivery report, then let the program have it: what its callback raises is for the client to see."""
    answer_report(known, sending, error, message)
    return theirs(error, message) if theirs is not None else None


def answer_report(known: Known, sending: Sending, error: Any, message: Any) -> None:
    """End a send by its delivery report."""
    try:
        if error is not None:
            known.answer(sending, error=KafkaException(error))
            return
        partition, offset = message.partition(), message.offset()
        kind, timestamp_ms = message.timestamp()
        if kind != TIMESTAMP_CREATE_TIME:  # as nearly never
            if kind == TIMESTAMP_LOG_APPEND_TIME and timestamp_ms >= 0:
                sending.appended(timestamp_ms)
            else:
                timestamp_ms = None
        known.answer(
            sending,
            partition if partition is not None and partition >= 0 else None,
            # None without acknowledgements: the client never learns it.
            offset if offset is not None and offset >= 0 else None,
            timestamp_ms,
        )
    except Exception as failure:
        COUNTS.fail(WHERE, "produce", failure)


class _Failed:
    """The callback where only failures are reported: let go without a call, the record is stored; nobody says where."""

    __slots__ = ("_known", "_sending", "_theirs")

    def __init__(self, known: Known, sending: Sending, theirs: Callback) -> None:
        self._known, self._sending, self._theirs = known, sending, theirs

    def __call__(self, error: Any, message: Any) -> Any:
        return delivered(self._known, self._sending, self._theirs, error, message)

    def __del__(self) -> None:
        try:
            self._known.answer(self._sending)
        except Exception as error:
            COUNTS.fail(WHERE, "produce", error)


def _close(
    producer: Any, switch: Switch, original: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call the original; after it, what is unanswered will not be answered any more."""
    known = known_of(producer, Known) if is_known(producer) else None
    with Closing(WHERE, known if switch.is_on else None) as closing:
        is_closed = False
        try:
            answer = original(producer, *arguments, **options)
            is_closed = True
        finally:
            try:
                if known is not None:
                    closing.unanswered = known.give_up() if is_closed else len(known.unanswered)
            except Exception as error:
                COUNTS.fail(WHERE, "close", error)
        return answer


def _send_lighter(send: Callable[[Any], Any], lighter: list[Any], headers: Any) -> Any:
    """Send a record that was too large with less in its headers: the record comes first.

    The program's own object goes last, and its refusal is the program's to see.
    """
    for less in lighter[:-1]:
        try:
            answer = send(less)
        except KafkaException as error:
            if not _is_too_large(error):
                raise
            continue
        COUNTS.drop_headers()
        return answer
    answer = send(headers)
    COUNTS.drop_headers()
    return answer


def _is_too_large(error: KafkaException) -> bool:
    code = error.args[0] if error.args else None
    return isinstance(code, cimpl.KafkaError) and code.code() == KafkaError.MSG_SIZE_TOO_LARGE


def header_pairs(headers: Any) -> list[Any] | None:
    """Return headers as a list of pairs, the same object when it is one; None when the client will refuse them.

    A name that is no text the client sends as what `str` makes of it (of bytes b'colour', quotes and all): so it is in
    the pairs. Raises what `str` does.
    """
    if isinstance(headers, dict):
        pairs: list[Any] = list(headers.items())
    elif isinstance(headers, list):
        pairs = headers
    else:
        return None
    is_text = True
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and (pair[1] is None or isinstance(pair[1], bytes | str))):
            return None
        if not isinstance(pair[0], str):
            is_text = False
    return pairs if is_text else [(_name(name), value) for name, value in pairs]


def _name(name: Any) -> str:
    if isinstance(name, str):
        return name
    # Unlike `str`, `repr` warns of nothing.
    return repr(name) if type(name) is bytes else str(name)

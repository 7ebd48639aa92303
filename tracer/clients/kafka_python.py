"""kafka-python 3: the same producer and consumer, traced.

    from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer

They are subclasses with the originals' signatures. A program that already uses kafka-python needs none of this:
`flowtrail.instrument()` puts the same functions into kafka-python's own classes.

What is ours stays aside: an exception in it is counted and the client is called as if we were not there.
"""

import contextvars
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

try:
    import kafka
    from kafka.consumer.fetcher import ConsumerRecord as PlainRecord
    from kafka.errors import MessageSizeTooLargeError
except ImportError as missing:
    raise ImportError("kafka-python is not installed: pip install 'kafka-python>=3.0.12' crc32c") from missing

from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import SEQUENCE
from flowtrail.tracer.record import Acknowledged, Client, Committed, Header, Outgoing, Polled, Unacknowledged
from flowtrail.tracer.tracing import CHAIN

from .consumer_record import RECEIVED_THROUGH, client_of, read_record
from .switch import Switch

# Headers came with Kafka 0.11 (KIP-82); kafka-python refuses them when it speaks to an older broker.
_FIRST_WITH_HEADERS: Final = (0, 11)
_WHERE: Final = "kafka-python"


class _Known:
    """What is known of one client: who it is, and for a producer what it sent without an answer so far.

    It holds parts of the client, never the client: that one must go when the program lets it go.
    """

    def __init__(self, config: Mapping[str, Any], cluster: Any, coordinator: Any = None) -> None:
        self._cluster = cluster
        self._coordinator = coordinator
        address, port = _first_server(config.get("bootstrap_servers"))
        self._client = Client(
            client_id=config.get("client_id"), group=config.get("group_id"), server_address=address, server_port=port
        )
        # Without acknowledgements the client makes an answer up, with an offset that is not true.
        self.learns_offsets = config.get("acks") != 0
        self.unacknowledged: dict[int, Outgoing] = {}

    def client(self) -> Client:
        """Return what is known now: the cluster id comes with the first metadata, the member id with the first join.

        Both are read where kafka-python keeps them: its public ways wait for locks, or for the network.
        """
        cluster_id = getattr(self._cluster, "cluster_id", None)
        member_id = getattr(getattr(self._coordinator, "_generation", None), "member_id", None) or None
        if cluster_id != self._client.cluster_id or member_id != self._client.member_id:
            self._client = replace(self._client, cluster_id=cluster_id, member_id=member_id)
        return self._client


# By client, and gone with it. Not attributes of the clients: those are the program's.
_KNOWN: "weakref.WeakKeyDictionary[Any, _Known]" = weakref.WeakKeyDictionary()


def _forget_sends_of_parent() -> None:
    for known in list(_KNOWN.values()):
        known.unacknowledged.clear()


# A forked child has copies of the clients, but the answers come to the parent.
os.register_at_fork(after_in_child=_forget_sends_of_parent)


class ConsumerRecord(PlainRecord):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's own ConsumerRecord that also knows through which client it came.

    A named tuple takes no attributes and no weak references, and two groups in one process poll records that are equal:
    so the record itself must say it. Copies and pickles are plain records, which need no Flowtrail to be read.
    """

    flowtrail_client: Client

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return PlainRecord, tuple(self)

    def _replace(self, /, **changes: Any) -> Any:
        return _received_through(client_of(self), super()._replace(**changes))


class KafkaProducer(kafka.KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's producer; a span for each send, from the call to the acknowledgement."""

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        return send(super().send, self, topic, value, key, headers, partition, timestamp_ms)

    def close(self, timeout=None, null_logger=False):  # type: ignore[no-untyped-def]
        return close_producer(super().close, self, timeout, null_logger)


class KafkaConsumer(kafka.KafkaConsumer):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's consumer; a span for each poll that returned records, and for each commit."""

    def poll(self, timeout_ms=0, max_records=None, update_offsets=True):  # type: ignore[no-untyped-def]
        return poll(super().poll, self, timeout_ms, max_records, update_offsets)

    def commit(self, offsets=None, timeout_ms=None):  # type: ignore[no-untyped-def]
        return commit(super().commit, self, offsets, timeout_ms)

    def commit_async(self, offsets=None, callback=None):  # type: ignore[no-untyped-def]
        return commit_async(super().commit_async, self, offsets, callback)


def _replace_send(original, switch):  # type: ignore[no-untyped-def]
    def send_traced(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaProducer) or not switch.is_on:
            return bound(topic, value, key, headers, partition, timestamp_ms)
        return send(bound, self, topic, value, key, headers, partition, timestamp_ms)

    return send_traced


def _replace_close(original, switch):  # type: ignore[no-untyped-def]
    def close_traced(self, timeout=None, null_logger=False):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaProducer) or not switch.is_on:
            return bound(timeout, null_logger)
        return close_producer(bound, self, timeout, null_logger)

    return close_traced


def _replace_poll(original, switch):  # type: ignore[no-untyped-def]
    def poll_traced(self, timeout_ms=0, max_records=None, update_offsets=True):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(timeout_ms, max_records, update_offsets)
        return poll(bound, self, timeout_ms, max_records, update_offsets)

    return poll_traced


def _replace_commit(original, switch):  # type: ignore[no-untyped-def]
    def commit_traced(self, offsets=None, timeout_ms=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(offsets, timeout_ms)
        return commit(bound, self, offsets, timeout_ms)

    return commit_traced


def _replace_commit_async(original, switch):  # type: ignore[no-untyped-def]
    def commit_async_traced(self, offsets=None, callback=None):  # type: ignore[no-untyped-def]
        bound = original.__get__(self)
        if isinstance(self, KafkaConsumer) or not switch.is_on:
            return bound(offsets, callback)
        return commit_async(bound, self, offsets, callback)

    return commit_async_traced


# What `instrument` puts into kafka-python's own classes. Our subclasses call these and trace for themselves, so there
# the replacement steps aside: nothing is traced twice.
REPLACEMENTS: Final[tuple[tuple[type, str, Callable[[Any, Switch], Callable[..., Any]]], ...]] = (
    (kafka.KafkaProducer, "send", _replace_send),
    (kafka.KafkaProducer, "close", _replace_close),
    (kafka.KafkaConsumer, "poll", _replace_poll),
    (kafka.KafkaConsumer, "commit", _replace_commit),
    (kafka.KafkaConsumer, "commit_async", _replace_commit_async),
)


def send(
    original: Callable[..., Any],
    producer: Any,
    topic: Any,
    value: Any,
    key: Any,
    headers: Any,
    partition: Any,
    timestamp_ms: Any,
) -> Any:
    """Call the original `send` with the headers that the interceptors want, and tell them what became of it."""
    try:
        known = _known(producer)
        can_carry = _is_sendable(headers) and producer.config["api_version"] >= _FIRST_WITH_HEADERS
        given: Sequence[Header] = headers if can_carry and headers is not None else ()
        outgoing = CHAIN.send(
            Outgoing(known.client(), topic, key, value, given, partition, timestamp_ms, sequence=next(SEQUENCE))
        )
        sent = list(outgoing.headers) if can_carry and outgoing.headers is not given else headers
        known.unacknowledged[outgoing.sequence] = outgoing
    except Exception as error:
        COUNTS.fail(_WHERE, "send", error)
        return original(topic, value, key, headers, partition, timestamp_ms)
    try:
        future = _send_fitting(original, topic, value, key, headers, sent, partition, timestamp_ms)
    except BaseException as error:
        _acknowledge(known, outgoing, error=error)
        raise
    try:
        future.add_callback(lambda metadata: _acknowledge(known, outgoing, metadata=metadata))
        future.add_errback(lambda error: _acknowledge(known, outgoing, error=error))
    except Exception as error:
        COUNTS.fail(_WHERE, "send", error)
    return future


def close_producer(original: Callable[..., Any], producer: Any, timeout: Any, null_logger: Any) -> Any:
    """Call the original `close`; what is unanswered after it will not be answered any more."""
    try:
        return original(timeout, null_logger)
    finally:
        try:
            # A close that failed to flush leaves the producer open, and the answers may still come.
            if producer._closed and (known := _KNOWN.get(producer)) is not None:
                _give_up(known)
        except Exception as error:
            COUNTS.fail(_WHERE, "close", error)


def give_up_unacknowledged() -> None:
    """End, with what is known, every send of this process that was not answered: the process is about to exit."""
    for known in list(_KNOWN.values()):
        _give_up(known)


def poll(original: Callable[..., Any], consumer: Any, timeout_ms: Any, max_records: Any, update_offsets: Any) -> Any:
    """Call the original `poll`; iterating over a consumer comes through here too."""
    started_ns = time.time_ns()
    polled = original(timeout_ms, max_records, update_offsets)
    if polled:
        try:
            client = _known(consumer).client()
            for partition, records in polled.items():
                polled[partition] = [_received_through(client, record) for record in records]
            received = [read_record(record) for records in polled.values() for record in records]
            CHAIN.consume(Polled(client, received, started_ns))
        except Exception as error:
            COUNTS.fail(_WHERE, "poll", error)
    return polled


def commit(original: Callable[..., Any], consumer: Any, offsets: Any, timeout_ms: Any) -> Any:
    """Call the original `commit`, which waits for the broker's answer."""
    started_ns, committed = time.time_ns(), _positions(consumer, offsets)
    known = _known_or_none(consumer)
    try:
        answer = original(offsets, timeout_ms)
    except BaseException as error:
        _commit(known, committed, started_ns, error)
        raise
    _commit(known, committed, started_ns, None)
    return answer


def commit_async(original: Callable[..., Any], consumer: Any, offsets: Any, callback: Any) -> Any:
    """Call the original `commit_async`; the commit is told to interceptors when its answer comes."""
    started_ns, committed = time.time_ns(), _positions(consumer, offsets)
    known, called_in = _known_or_none(consumer), contextvars.copy_context()

    def answered(answer: Any) -> None:
        # The answer comes on another thread; the span belongs where the commit was called.
        error = answer if isinstance(answer, BaseException) else None
        called_in.run(_commit, known, committed, started_ns, error)

    # Without a coordinator the returned future stands for looking one up, and only a callback sees the commit.
    is_looked_up = _has_no_coordinator(consumer)
    looked_up: list[Any] = []

    def called_back(committed_offsets: Any, answer: Any) -> None:
        answered(answer)
        if callback is not None:
            callback(committed_offsets, answer)
        elif not (looked_up and looked_up[0].failed()):
            consumer_config["default_offset_commit_callback"](committed_offsets, answer)

    consumer_config = consumer.config
    try:
        future = original(offsets, called_back if is_looked_up else callback)
    except BaseException as error:
        answered(error)
        raise
    looked_up.append(future)
    if not is_looked_up:
        try:
            future.add_both(answered)
        except Exception as error:
            COUNTS.fail(_WHERE, "commit_async", error)
    return future


def _send_fitting(
    original: Callable[..., Any],
    topic: Any,
    value: Any,
    key: Any,
    headers: Any,
    sent: Any,
    partition: Any,
    timestamp_ms: Any,
) -> Any:
    """Send with our headers, and without them when they are what makes the record too large: the record comes first."""
    if sent is not headers:
        try:
            return original(topic, value, key, sent, partition, timestamp_ms)
        except MessageSizeTooLargeError:
            pass  # refused before anything was kept; the caller's own record decides below
    return original(topic, value, key, headers, partition, timestamp_ms)


def _acknowledge(
    known: _Known, outgoing: Outgoing, *, metadata: Any = None, error: BaseException | None = None
) -> None:
    """Tell interceptors the fate of a send, once."""
    try:
        if known.unacknowledged.pop(outgoing.sequence, None) is None:
            return
        if outgoing.client.cluster_id is None:
            outgoing = replace(outgoing, client=known.client())
        if metadata is None:
            CHAIN.acknowledge(Acknowledged(outgoing, error=error))
            return
        offset = metadata.offset if known.learns_offsets else None
        timestamp_ms = metadata.timestamp
        CHAIN.acknowledge(
            Acknowledged(
                outgoing,
                partition=metadata.partition,
                offset=offset if offset is not None and offset >= 0 else None,
                timestamp_ms=timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None,
            )
        )
    except Exception as failure:
        COUNTS.fail(_WHERE, "send", failure)


def _give_up(known: _Known) -> None:
    for outgoing in list(known.unacknowledged.values()):
        _acknowledge(known, outgoing, error=Unacknowledged("no answer before the producer closed"))


def _commit(
    known: _Known | None, offsets: dict[tuple[str, int], int], started_ns: int, error: BaseException | None
) -> None:
    CHAIN.commit(Committed(known.client() if known is not None else Client(), offsets, started_ns, error))


def _positions(consumer: Any, offsets: Any) -> dict[tuple[str, int], int]:
    """Return the positions that a commit is about: those given, else what was consumed so far."""
    try:
        given = consumer._subscription.all_consumed_offsets() if offsets is None else offsets
        return {(place.topic, place.partition): position.offset for place, position in given.items()}
    except Exception:
        return {}  # not the shape that a commit takes: the client will say so itself


def _received_through(client: Client, record: Any) -> Any:
    if not isinstance(record, PlainRecord):
        return record  # a fetcher of the program's own
    received = ConsumerRecord._make(record)
    setattr(received, RECEIVED_THROUGH, client)
    return received


def _known(client: Any) -> _Known:
    known = _KNOWN.get(client)
    if known is None:
        if isinstance(client, kafka.KafkaProducer):
            known = _Known(client.config, client._metadata)
        else:
            known = _Known(client.config, client._cluster, client._coordinator)
        known = _KNOWN.setdefault(client, known)
    return known


def _known_or_none(client: Any) -> _Known | None:
    try:
        return _known(client)
    except Exception as error:
        COUNTS.fail(_WHERE, "commit", error)
        return None


def _is_sendable(headers: Any) -> bool:
    """Whether the client will take these headers; what it refuses, it gets as it is."""
    return headers is None or (
        isinstance(headers, list)
        and all(
            isinstance(header, tuple)
            and len(header) == 2
            and isinstance(header[0], str)
            and isinstance(header[1], bytes)
            for header in headers
        )
    )


def _has_no_coordinator(consumer: Any) -> bool:
    try:
        return bool(consumer._coordinator.coordinator_unknown())
    except Exception:
        return False


def _first_server(servers: Any) -> tuple[str | None, int | None]:
    """Return host and port of the first bootstrap server; None for what is not there."""
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, Iterable):
        return None, None
    first = str(next(iter(servers), "")).strip()
    host, colon, port = first.rpartition(":")
    if not colon:
        return first or None, None
    return host.strip("[]") or None, int(port) if port.isdigit() else None

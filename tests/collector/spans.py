"""Scenarios in a few lines: a small world of services, groups and a log that writes OTLP spans as the tracer does.

world = World(now_ms=…)
order = world.send("storefront", "orders", key="81204")
world.poll("payments", "payments-workers", [order])
with world.process("payments", "payments-workers", order) as work:
    world.send("payments", "payments", parent=work)

Time goes on by `world.wait(ms)`, and a little by itself with every span. `world.body()` is the OTLP request.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from flowtrail.tracer import attributes as names

Value = str | int


@dataclass
class Made:
    """A span under construction, and the event that it sent if it did. `scope` names the tracer that makes it."""

    service: str
    otlp: OtlpSpan
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: str = ""
    sent_ms: float = 0.0
    scope: str = "flowtrail"

    @property
    def trace_id(self) -> str:
        return self.otlp.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.otlp.span_id.hex()

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset

    def fail(self, kind: str, message: str) -> None:
        """End with an error, as an exception recorded by the SDK does."""
        self.otlp.status.code = Status.STATUS_CODE_ERROR
        self.otlp.status.message = f"{kind}: {message}"
        self.otlp.attributes.append(_pair(names.ERROR_TYPE, kind))
        event = self.otlp.events.add(name="exception", time_unix_nano=self.otlp.start_time_unix_nano)
        event.attributes.extend([_pair("exception.type", kind), _pair("exception.message", message)])


@dataclass
class World:
    """What happened, in order. `seed` makes the ids; clients name `cluster_id` unless it is ''."""

    now_ms: float
    seed: int = 1
    cluster_id: str = ""
    spans: list[Made] = field(default_factory=list)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def wait(self, ms: float) -> None:
        self.now_ms += ms

    def span(self, service: str, name: str, parent: Made | None = None, took_ms: float = 1, kind: int = 1) -> Made:
        """An ordinary span, of no message."""
        return self._span(service, name, kind, parent, took_ms, {})

    def send(
        self,
        service: str,
        topic: str,
        *,
        key: str = "",
        partition: int = 0,
        parent: Made | None = None,
        error: tuple[str, str] | None = None,
        is_acknowledged: bool = True,
        outcome: str = "",
        past: dict[str, Value] | None = None,
    ) -> Made:
        """Send an event; `outcome` is its transaction's, `past` what it says of earlier tries (`forwarded`)."""
        attributes: dict[str, Value] = {**_operation(names.SEND), names.TOPIC: topic}
        if key:
            attributes[names.KEY] = key
        if outcome:
            attributes[names.TRANSACTION_OUTCOME] = outcome
        attributes |= past or {}
        offset = -1
        if error is None and is_acknowledged:
            offset = self.ends.get((topic, partition), 0)
            self.ends[topic, partition] = offset + 1
            attributes |= {names.PARTITION: str(partition), names.OFFSET: offset}
        sent_ms = self.now_ms
        made = self._span(service, f"send {topic}", 4, parent, 2, attributes)
        made.topic, made.partition, made.offset, made.key, made.sent_ms = topic, partition, offset, key, sent_ms
        if error is not None:
            made.fail(*error)
        elif not is_acknowledged:
            made.otlp.events.add(name=names.UNACKNOWLEDGED_EVENT, time_unix_nano=made.otlp.end_time_unix_nano)
        return made

    def poll(self, service: str, group: str, events: Sequence[Made], member: str = "member-1") -> Made:
        attributes: dict[str, Value] = {**_operation(names.POLL), names.GROUP: group, names.MEMBER_ID: member}
        if len(events) == 1:
            attributes |= _coordinates(events[0])
        elif len({event.topic for event in events}) == 1:
            attributes[names.TOPIC] = events[0].topic
        made = self._span(service, "poll", 3, None, 1, attributes)
        for event in events:
            _link(made, event, with_coordinates=True)
        return made

    def close(
        self,
        service: str,
        group: str,
        parent: Made | None = None,
        error: tuple[str, str] | None = None,
        operation: tuple[str, str] = names.CLOSE,
        member: str = "member-1",
    ) -> Made:
        """Close a consumer, whose partition 0 of "orders" is revoked by it; or only rebalance it (`operation`)."""
        attributes: dict[str, Value] = {names.OPERATION_NAME: operation[0], names.GROUP: group, names.MEMBER_ID: member}
        made = self._span(service, operation[0], 3, parent, 1, attributes)
        revoked = made.otlp.events.add(name=names.REVOKE_EVENT, time_unix_nano=made.otlp.start_time_unix_nano)
        revoked.attributes.extend([_pair(names.TOPIC, "orders"), _pair(names.PARTITION, "0")])
        if error is not None:
            made.fail(*error)
        return made

    @contextmanager
    def process(
        self,
        service: str,
        group: str,
        events: Made | Sequence[Made],
        *,
        took_ms: float = 20,
        error: tuple[str, str] | None = None,
        member: str = "member-1",
        parent: Made | None = None,
        is_exported: bool = True,
        past: dict[str, Value] | None = None,
        is_inferred: bool = False,
        is_unfinished: bool = False,
    ) -> Iterator[Made]:
        """Process one event, or a batch. Sends with `parent=` this span happen within it.

        `past` is what the event's headers say of earlier tries (`forwarded`).
        """
        attributes: dict[str, Value] = {**_operation(names.PROCESS), names.GROUP: group, names.MEMBER_ID: member}
        batch = [events] if isinstance(events, Made) else list(events)
        if isinstance(events, Made):
            attributes |= _coordinates(events) | (past or {})
        else:
            attributes |= {names.TOPIC: batch[0].topic, names.MESSAGE_COUNT: len(batch)}
        made = self._span(service, f"process {batch[0].topic}", 5, parent, 0, attributes)
        for event in batch:
            _link(made, event, with_coordinates=not isinstance(events, Made))
        yield made
        self.wait(took_ms)
        made.otlp.end_time_unix_nano = int(self.now_ms * 1e6)
        if error is not None:
            made.fail(*error)
        if is_inferred:
            made.otlp.attributes.append(KeyValue(key=names.INFERRED, value=AnyValue(bool_value=True)))
        if is_unfinished:
            made.otlp.attributes.append(KeyValue(key=names.UNFINISHED, value=AnyValue(bool_value=True)))
        if not is_exported:
            self.spans.remove(made)

    def handled(self, service: str, group: str, event: Made, *, error: tuple[str, str] | None = None) -> Made:
        """Poll and process one event, sending nothing on."""
        self.poll(service, group, [event])
        with self.process(service, group, event, error=error) as work:
            pass
        return work

    def body(self, order: Sequence[int] | None = None) -> bytes:
        """All spans as one request; `order` permutes them."""
        spans = self.spans if order is None else [self.spans[index] for index in order]
        request = ExportTraceServiceRequest()
        for made in spans:
            resource = request.resource_spans.add()
            resource.resource.attributes.extend(
                [_pair("service.name", made.service), _pair("service.instance.id", made.service + "-1")]
            )
            scope = resource.scope_spans.add()
            scope.scope.name = made.scope
            scope.spans.append(made.otlp)
        return request.SerializeToString()

    def _span(
        self, service: str, name: str, kind: int, parent: Made | None, took_ms: float, attributes: dict[str, Value]
    ) -> Made:
        start_ns = int(self.now_ms * 1e6)
        otlp = OtlpSpan(
            trace_id=parent.otlp.trace_id if parent else self._random.randbytes(16),
            span_id=self._random.randbytes(8),
            parent_span_id=parent.otlp.span_id if parent else b"",
            name=name,
            kind=OtlpSpan.SpanKind.ValueType(kind),
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + int(took_ms * 1e6),
        )
        if names.TOPIC in attributes or names.GROUP in attributes:
            attributes = {names.SYSTEM: "kafka", **attributes}
            if self.cluster_id:
                attributes[names.CLUSTER_ID] = self.cluster_id
        otlp.attributes.extend(_pair(key, value) for key, value in attributes.items())
        made = Made(service, otlp)
        self.spans.append(made)
        self.wait(took_ms)
        return made


def forwarded(first: Made, attempt: int, what_for: str = "", error: str = "GatewayTimeout") -> dict[str, Value]:
    """What the spans of a forwarded event say; `what_for` is said of what Flowtrail's own functions forwarded."""
    said: dict[str, Value] = {
        names.ORIGINAL_TOPIC: first.topic,
        names.ORIGINAL_PARTITION: str(first.partition),
        names.ORIGINAL_OFFSET: first.offset,
        names.DELIVERY_ATTEMPT: attempt,
        names.LAST_ERROR_TYPE: error,
    }
    return said | ({names.FORWARDED: what_for} if what_for else {})


def _operation(pair: tuple[str, str]) -> dict[str, Value]:
    return {names.OPERATION_NAME: pair[0], names.OPERATION_TYPE: pair[1]}


def _coordinates(event: Made) -> dict[str, Value]:
    found: dict[str, Value] = {
        names.TOPIC: event.topic,
        names.PARTITION: str(event.partition),
        names.OFFSET: event.offset,
        names.RECORD_TIMESTAMP_MS: int(event.sent_ms),
    }
    return found | ({names.KEY: event.key} if event.key else {})


def _link(made: Made, event: Made, *, with_coordinates: bool) -> None:
    link = made.otlp.links.add(trace_id=event.otlp.trace_id, span_id=event.otlp.span_id)
    if with_coordinates:
        link.attributes.extend(_pair(key, value) for key, value in _coordinates(event).items())


def _pair(key: str, value: Value) -> KeyValue:
    return KeyValue(
        key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    )

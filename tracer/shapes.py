"""What all spans of one operation, of one client, on one topic have in common: made once, used for each."""

from typing import Final

from opentelemetry.trace import SpanKind

from . import attributes as names
from . import spans
from .record import Client

_KINDS: Final = {
    names.SEND: SpanKind.PRODUCER,
    names.POLL: SpanKind.CLIENT,
    names.PROCESS: SpanKind.CONSUMER,
    names.COMMIT: SpanKind.CLIENT,
    names.TRANSACTION: SpanKind.CLIENT,
    # Of the conventions, none; but it is a request, for which the program waits: to leave the group, to take the rest.
    names.CLOSE: SpanKind.CLIENT,
    names.REBALANCE: SpanKind.CLIENT,
}
# A program that makes up topic names without end must not make us remember them all.
_MOST_SHAPES: Final = 1000


class Shape:
    """A span's name, kind, and the attributes that do not differ from record to record.

    `encoded` is for the encoder to keep its own rendering of them in.
    """

    __slots__ = ("attributes", "encoded", "kind", "name", "operation", "topic")

    def __init__(self, operation: tuple[str, str], client: Client, topic: str | None) -> None:
        self.operation = operation
        self.topic = topic
        self.name = spans.span_name(operation, topic)
        self.kind = _KINDS[operation]
        self.attributes = spans.operation_attributes(operation, client, topic)
        self.encoded: bytes | None = None


def shape_of(operation: tuple[str, str], client: Client, topic: str | None) -> Shape:
    """Return the one shape of these; `client.shapes` holds it."""
    shapes = client.shapes
    shape = shapes.get((operation[0], topic))
    if shape is None:
        if len(shapes) >= _MOST_SHAPES:
            shapes.clear()
        shape = shapes[operation[0], topic] = Shape(operation, client, topic)
    return shape

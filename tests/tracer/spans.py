"""Finished spans, kept in memory, and ways to wait for them."""

import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

DEADLINE_S = 20


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when the condition holds; fail after the deadline."""
    ends = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.005)


class Spans:
    """A provider that keeps what was finished."""

    def __init__(self, *, sampler: Sampler | None = None, limits: SpanLimits | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, span_limits=limits)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        """The finished spans of this name, in the order in which they ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def wait(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """Wait for the first `count` spans of a name: an acknowledgement's span ends after the future is done."""
        wait_until(lambda: len(self.named(name)) >= count, f"{count} spans {name!r}, only {self.names()}")
        return self.named(name)

    def one(self, name: str) -> ReadableSpan:
        """Wait for the one span of this name."""
        spans = self.wait(name)
        assert len(spans) == 1
        return spans[0]

    def settled(self) -> list[str]:
        """The names of all spans, once nothing is left to be made: what is not there then will not come."""
        self.provider.force_flush()
        return self.names()

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


class Keeping(SpanProcessor):
    """Keeps what ended, and looks at no start: so spans are made behind the program's back, on another thread."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        self._exporter.export([span])


class LaterSpans(Spans):
    """The spans of a provider that lets Flowtrail make them later."""

    def __init__(self) -> None:
        super().__init__()
        self.provider = TracerProvider()
        self.provider.add_span_processor(Keeping(self._exporter))


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def linked(span: ReadableSpan) -> list[int]:
    """Span ids that a span links."""
    return [link.context.span_id for link in span.links]


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def link_attributes(span: ReadableSpan) -> Sequence[dict[str, object]]:
    return [dict(link.attributes or {}) for link in span.links]

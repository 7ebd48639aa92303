"""Rows that were loaded for stitching, with the indexes that it walks along. Adding a row twice changes nothing."""

from collections.abc import Iterable

from .rows import Context, LinkedRow, Place, SpanRow, SpeakerRow


class Material:
    """A growing set of rows. What was asked for is remembered, so that an absent span is known to be absent.

    Every look-up answers in an order that does not depend on the order of adding.
    """

    def __init__(self) -> None:
        self.traces: set[str] = set()
        self.places: set[Place] = set()
        self.cut: set[str | Place] = set()  # traces and places that have more than was loaded
        self._spans: dict[Context, SpanRow] = {}
        self._by_trace: dict[str, set[Context]] = {}
        self._children: dict[Context, set[Context]] = {}
        self._linked_from: dict[Context, set[Context]] = {}
        self._speakers: dict[Place, dict[Context, str]] = {}

    def __len__(self) -> int:
        return len(self._spans)

    def add_spans(self, rows: Iterable[SpanRow]) -> None:
        for row in rows:
            self._spans[row.context] = row
            self._by_trace.setdefault(row.context.trace_id, set()).add(row.context)
            if row.parent is not None:
                self._children.setdefault(row.parent, set()).add(row.context)
            for link in row.links:
                self._linked_from.setdefault(link.to, set()).add(row.context)
                if link.place is not None:
                    self._speakers.setdefault(link.place, {})[row.context] = row.operation
            if row.place is not None:
                self._speakers.setdefault(row.place, {})[row.context] = row.operation

    def add_links(self, rows: Iterable[LinkedRow]) -> None:
        for row in rows:
            self._linked_from.setdefault(row.target, set()).add(row.source)

    def add_speakers(self, rows: Iterable[SpeakerRow]) -> None:
        for row in rows:
            self._speakers.setdefault(row.place, {})[row.context] = row.operation

    def span(self, context: Context) -> SpanRow | None:
        return self._spans.get(context)

    def in_trace(self, trace_id: str) -> list[SpanRow]:
        """All loaded spans of a trace in order of start."""
        return self._sorted(self._by_trace.get(trace_id, ()))

    def children(self, context: Context) -> list[SpanRow]:
        return self._sorted(self._children.get(context, ()))

    def linked_from(self, context: Context) -> list[Context]:
        """The spans that link to this one, loaded or not."""
        return sorted(self._linked_from.get(context, ()))

    def speakers(self, place: Place) -> list[tuple[Context, str]]:
        """The spans that speak of this event and their operations, loaded or not."""
        return sorted(self._speakers.get(place, {}).items())

    def _sorted(self, contexts: Iterable[Context]) -> list[SpanRow]:
        return sorted((self._spans[context] for context in contexts), key=lambda row: (row.start_ns, row.context))

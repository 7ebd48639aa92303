"""A flow as text: what happened hop by hop, then the verdict, what it rests on, and what to do next."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flowtrail.collector.api.answers import Attempt, Evidence, Flow, Hop, State, Tone, Verdict

from .figures import clock, count, day_and_clock, duration, printable
from .trail import Line, trail

STYLES: Final[dict[Tone, str]] = {
    Tone.FAIL: "bold red",
    Tone.STUCK: "bold yellow",
    Tone.SLOW: "yellow",
    Tone.QUIET: "cyan",
    Tone.OK: "green",
}
GLYPHS: Final[dict[Tone, str]] = {Tone.FAIL: "✕", Tone.STUCK: "■", Tone.SLOW: "~", Tone.QUIET: "…", Tone.OK: "✓"}

_WORDS: Final[dict[State, str]] = {
    State.DEAD_LETTERED: "dead-lettered",
    State.UNCONSUMED: "nobody reads",
    State.UNINSTRUMENTED: "not traced",
}
_UNREAD: Final = frozenset({State.WAITING, State.STALLED, State.NO_MEMBER, State.UNCONSUMED})
_WIDEST: Final = 110
_STATE_COLUMNS: Final = 16
_TIME_COLUMNS: Final = 12


def render(flow: Flow, *, zone: tzinfo | None = None, is_whole: bool = False) -> RenderableType:
    """The story of `flow`, readable from 60 columns; times of day are in `zone` (default: here).

    A long flow is told along its failing path unless `is_whole`.
    """
    return Constrain(Group(*_story(flow, zone, is_whole)), _WIDEST)


def badge(state: State, tone: Tone) -> Text:
    """Glyph and word of a state, in its colour."""
    return Text(f"{GLYPHS[tone]} {word(state)}", style=STYLES[tone])


def word(state: State) -> str:
    """A state as people say it."""
    return _WORDS.get(state, state.value.replace("_", " "))


def _story(flow: Flow, zone: tzinfo | None, is_whole: bool) -> Iterator[RenderableType]:
    yield Rule(Text(printable(flow.title), style="bold"), align="left", style="dim")
    yield _measures(flow, zone)
    yield Text()
    told = trail(flow, is_whole=is_whole)
    if told.lines:
        yield _Columns()
    for line in told.lines:
        yield _Hop(line, line.hop, zone) if line.hop is not None else _Event(line, zone)
    if told.left_out:
        yield Text(f"{count(told.left_out)} more hops went well (--whole shows them)", style="dim")
    yield Text()
    yield from _verdict(flow, zone)


def _measures(flow: Flow, zone: tzinfo | None) -> Text:
    took = "still under way" if flow.ended_ms is None else f"took {duration(flow.ended_ms - flow.began_ms)}"
    parts = [
        f"began {day_and_clock(flow.began_ms, zone)}",
        took,
        _many(len(flow.events), "event"),
        _many(len(flow.spans), "span"),
        _many(len(flow.trace_ids), "trace"),
    ]
    return Text(" · ".join(parts), style="dim")


def _verdict(flow: Flow, zone: tzinfo | None) -> Iterator[RenderableType]:
    verdict = flow.verdict
    title = badge(verdict.state, verdict.tone)
    if verdict.time_ms is not None:
        title.append(f" · {clock(verdict.time_ms, zone)}", style="not bold dim")
    yield Rule(title, align="left", style=STYLES[verdict.tone])
    yield Text(printable(verdict.sentence), style="bold")
    if verdict.consequence:
        yield Text(printable(verdict.consequence))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(flow, verdict, zone):
        facts.add_row(label, value)
    if facts.row_count:
        yield Text()
        yield facts
    if verdict.next_step:
        yield Text()
        yield Text.assemble(("Next  ", "bold"), printable(verdict.next_step))
    yield Text()
    yield Text(f"flow {flow.id}", style="dim")


def _facts(flow: Flow, verdict: Verdict, zone: tzinfo | None) -> Iterator[tuple[str, RenderableType]]:
    if verdict.coordinates is not None and verdict.state is not State.COMPLETE:
        at = Text(printable(str(verdict.coordinates)), style="magenta")
        if verdict.hop_group:
            at.append(" → ", style="dim").append(printable(verdict.hop_group), style="cyan")
        if verdict.attempt is not None and verdict.attempt > 1:
            at.append(f", attempt {verdict.attempt}", style="not bold dim")
        yield "First failure" if verdict.tone is Tone.FAIL else "Where", at
    if verdict.error:
        yield "Error", Text(printable(verdict.error), style="red")
    if verdict.last_good is not None:
        good = Text()
        if verdict.last_good_service:
            good.append(printable(verdict.last_good_service), style="blue").append(" · ", style="dim")
        yield "Last good", good.append(printable(str(verdict.last_good)), style="magenta")
    for label, sentences in (
        ("Evidence", [_evidence(fact, zone) for fact in verdict.evidence]),
        ("Not known", [Text(printable(sentence)) for sentence in verdict.missing]),
        ("Gaps", [Text(printable(gap)) for gap in flow.gaps]),
        ("Came from", [Text(printable(str(cause)), style="magenta") for cause in flow.causes]),
    ):
        for index, sentence in enumerate(sentences):
            yield "" if index else label, sentence
    if flow.truncated:
        yield "Cut short", Text(printable(flow.bounds) or "the flow is larger than what was stitched")


def _evidence(fact: Evidence, zone: tzinfo | None) -> Text:
    when = "" if fact.time_ms is None else f"{clock(fact.time_ms, zone)} "
    return Text.assemble((when, "dim"), printable(fact.text))


def _many(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _fitted(text: Text, columns: int) -> Text:
    """`text` in exactly `columns`, with an ellipsis where it was cut."""
    fitted = text.copy()
    fitted.truncate(columns, overflow="ellipsis", pad=True)
    return fitted


def _row(name: Text, state: Text, in_kafka: str, work: str, options: ConsoleOptions) -> Text:
    columns = max(options.max_width - _STATE_COLUMNS - 2 * _TIME_COLUMNS - 1, 8)
    return Text.assemble(
        _fitted(name, columns),
        " ",
        _fitted(state, _STATE_COLUMNS),
        (in_kafka.rjust(_TIME_COLUMNS), "magenta"),
        work.rjust(_TIME_COLUMNS),
        no_wrap=True,
        overflow="crop",
    )


class _Columns:
    """The head of the two columns of figures."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head = _row(Text("event and group"), Text(), "in Kafka", "work", options)
        head.stylize("dim")
        yield head


@dataclass(frozen=True)
class _Event:
    """An event: where it lies, when it was sent, and by whom when its sender is not the line above."""

    line: Line
    zone: tzinfo | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        event = self.line.event
        name = Text.assemble((self.line.prefix, "dim"), (printable(str(self.line.coordinates)), "bold magenta"))
        said = Text(style="dim")
        if event is not None and event.producer and self.line.is_root:
            said.append(f"sent by {printable(event.producer)} ")
        if event is not None and event.sent_ms is not None:
            said.append(clock(event.sent_ms, self.zone))
        room = max(options.max_width - said.cell_len - 1, 8)
        yield Text.assemble(_fitted(name, room), " ", said, no_wrap=True, overflow="crop")


@dataclass(frozen=True)
class _Hop:
    """What a group did with the event above: its state, time in Kafka and work, and what went wrong."""

    line: Line
    hop: Hop
    zone: tzinfo | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        hop = self.hop
        name = Text.assemble((self.line.prefix, "dim"), self._name())
        still = "still there" if hop.in_kafka_ms is None and hop.state in _UNREAD else duration(hop.in_kafka_ms)
        yield _row(name, badge(hop.state, hop.tone), still, duration(hop.processing_ms), options)
        indent = Text(f"{self.line.below}  ", style="dim")
        for said in self._said():
            for wrapped in said.wrap(console, max(options.max_width - indent.cell_len, 20)):
                yield Text.assemble(indent, wrapped)

    def _name(self) -> Text:
        if self.hop.state is State.READ and self.hop.group is None:
            return Text(printable(self.hop.service or ""), style="cyan").append(" · no group", style="dim")
        if self.hop.group is None:
            return Text("never reached Kafka" if self.hop.state is State.NOT_SENT else "no group", style="dim")
        name = Text(printable(self.hop.group), style="cyan")
        if self.hop.service and self.hop.service != self.hop.group:
            name.append(f" · {printable(self.hop.service)}", style="dim")
        return name

    def _said(self) -> Iterator[Text]:
        if self.hop.error:
            yield Text(printable(self.hop.error), style="red")
        elif self.hop.tone is not Tone.OK or self.hop.missing:
            yield Text(printable(self.hop.sentence), style="dim")
        if len(self.hop.attempts) > 1:
            for attempt in self.hop.attempts:
                began = attempt.started_ms if attempt.started_ms is not None else attempt.polled_ms
                yield Text(f"attempt {attempt.number} {clock(began, self.zone)} {self._end(attempt)}", style="dim")

    def _end(self, attempt: Attempt) -> str:
        if attempt.error:
            return "same error" if attempt.error == self.hop.error else printable(attempt.error)
        return "did not end" if attempt.ended_ms is None else "ended well"

"""The events of a flow and who took them: from a trail's spans to each event's readers and their attempts. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flowtrail.tracer.attributes import ABORTED_OUTCOME, TRANSACTION_OUTCOME, TRANSACTIONAL_ID, UNKNOWN_OUTCOME

from .past import Past, past_of
from .rows import Context, LinkRow, Place, SpanRow
from .stitching import Trail

# Spring's retry topics poll a delayed record early and throw this to wait: a span with an error, but no failure.
NOT_A_FAILURE = "KafkaBackoffException"


@dataclass(frozen=True, order=True)
class Reader:
    """Who reads a topic: a group, or where its client does not say the group, a service."""

    group: str
    service: str = field(compare=False)

    @property
    def name(self) -> str:
        return self.group or self.service

    @property
    def key(self) -> tuple[str, str]:
        """Readers are the same when this is: the group, else the service."""
        return (self.group, "" if self.group else self.service)


@dataclass
class Try:
    """One delivery of an event to a reader: polled, processed, or both. `error` is the processing's.

    A processing that is unfinished was begun, and no more. `inferred` is what the client made of the same delivery
    before the program said itself, in another thread, that it processes it.
    """

    poll: SpanRow | None = None
    process: SpanRow | None = None
    inferred: SpanRow | None = None

    @property
    def span(self) -> SpanRow:
        span = self.process or self.poll
        assert span is not None
        return span

    @property
    def spans(self) -> list[SpanRow]:
        """All that tell of it, the one that counts first."""
        return [row for row in (self.process, self.inferred, self.poll) if row is not None]

    @property
    def taken_ms(self) -> float:
        """When the event was taken up: its processing began, else the poll that handed it out ended. A poll begins
        long before, when it has to wait for events."""
        return self.process.start_ms if self.process is not None else self.span.end_ms

    @property
    def is_without_group(self) -> bool:
        """Whether its consumer is known to be in no group: our tracer says the group of each consumer that it knows.

        An explicit process of a record that came through an unknown client says nothing of the kind.
        """
        return any(is_own(row) and not row.group and (row.is_receive or row.is_inferred) for row in self.spans)

    @property
    def is_ended(self) -> bool:
        return self.process is not None and not self.process.is_unfinished

    @property
    def error(self) -> str | None:
        return error_text(self.process) if self.process is not None and self.process.is_error else None


@dataclass
class Sent:
    """One event of a flow. Without `send` its producer is not traced; without `place` nobody said where it lies.

    `past` is what its spans say of earlier tries, if it was forwarded.
    """

    topic: str
    send: SpanRow | None
    place: Place | None
    key: str = ""
    cluster_id: str = ""
    sent_ms: float = 0.0
    tries: dict[tuple[str, str], list[Try]] = field(default_factory=dict)
    readers: dict[tuple[str, str], Reader] = field(default_factory=dict)
    past: Past | None = None

    @property
    def outcome(self) -> str:
        """What became of its transaction: committed, aborted, unknown; '' when it was in none, or nobody says so."""
        if self.send is None:
            return ""
        in_one = UNKNOWN_OUTCOME if TRANSACTIONAL_ID in self.send.attributes else ""
        return self.send.attributes.get(TRANSACTION_OUTCOME, in_one)

    @property
    def is_aborted(self) -> bool:
        """Whether its transaction was aborted: then no group that reads committed events sees it, in the log or not."""
        return self.outcome == ABORTED_OUTCOME

    @property
    def id(self) -> str:
        """Stable within a flow: its coordinates, else its topic and the id of the send span."""
        if self.place is not None:
            return str(self.place)
        return f"{self.topic}/{self.send.context.span_id}" if self.send else self.topic

    @property
    def name(self) -> str:
        """The event in a sentence: its coordinates, which it may never have had."""
        return str(self.place) if self.place is not None else f"an event of {self.topic}"


def events_of(trail: Trail) -> list[Sent]:
    """Return the events of a flow in causal order, each with its readers' tries in order of time."""
    catalogue = _Catalogue()
    for row in trail.spans:
        if row.is_send and row.topic:
            catalogue.add_send(row)
    for row in trail.spans:
        if row.is_receive or row.is_process:
            for sent, link in catalogue.spoken_of(row, trail):
                catalogue.add_reading(sent, row, link)
    return catalogue.in_order()


def caused_by(trail: Trail, events: Sequence[Sent]) -> dict[Context, list[Sent]]:
    """For each process span, the events that were sent while it ran (or as a remark to it)."""
    by_context = {row.context: row for row in trail.spans}
    caused: dict[Context, list[Sent]] = {}
    for sent in events:
        if sent.send is None:
            continue
        at = trail.parents.get(sent.send.context)
        while at is not None:
            row = by_context[at]
            if row.is_process or row.is_receive:
                caused.setdefault(at, []).append(sent)
                break
            if row.is_send:
                break
            at = trail.parents[at]
    return caused


def is_own(row: SpanRow) -> bool:
    """Whether Flowtrail's tracer made a span: what it tells is a Python program's."""
    return row.scope.startswith("flowtrail")


def error_text(row: SpanRow) -> str:
    """Type and message of a span's error, as far as its client told; `error` when it told nothing."""
    for event in reversed(row.events):
        if event.name == "exception":
            kind = event.attributes.get("exception.type", "").rpartition(".")[2]
            message = event.attributes.get("exception.message", "")
            # kafka-python's errors name their type in the message too: "[Error 10] MessageSizeTooLargeError: …".
            head, _, rest = message.partition(": ")
            if kind and rest and head.endswith(kind):
                message = rest
            if kind or message:
                return ": ".join(part for part in (kind, message) if part)
    kind = row.attributes.get("error.type", "").rpartition(".")[2]
    if kind and not row.status_message.startswith(kind):
        return ": ".join(part for part in (kind, row.status_message) if part)
    return row.status_message or kind or "error"


def error_type(text: str) -> str:
    """The type at the front of an error text."""
    return text.partition(":")[0]


class _Catalogue:
    """Events under construction, found by their coordinates and by their send span."""

    def __init__(self) -> None:
        self._all: list[Sent] = []
        self._by_place: dict[Place, Sent] = {}
        self._by_send: dict[Context, Sent] = {}
        self._read_by: dict[Context, list[Sent]] = {}

    def add_send(self, row: SpanRow) -> None:
        sent = Sent(
            row.topic, row, row.place, row.key, row.cluster_id, row.start_ms, past=past_of(row.attributes, row.place)
        )
        self._all.append(sent)
        self._by_send[row.context] = sent
        if row.place is not None:
            self._by_place.setdefault(row.place, sent)

    def spoken_of(self, row: SpanRow, trail: Trail) -> list[tuple[Sent, LinkRow | None]]:
        """The events of this flow that a reader's span speaks of, each with the link that says so."""
        if row.place is not None:
            link = row.links[0] if row.links else None
            return [(self._at(row.place, row, link), link)]
        found: list[tuple[Sent, LinkRow | None]] = []
        is_cause_known = trail.parents.get(row.context) is not None
        for link in row.links:
            sent = self._by_place.get(link.place) if link.place is not None else None
            sent = sent or self._by_send.get(link.to)
            if sent is not None and sent.place is None and link.place is not None:
                self._place(sent, link.place)
            if sent is not None:
                found.append((sent, link))
            elif link.to in self._read_by:
                found += [(earlier, link) for earlier in self._read_by[link.to]]
            elif is_cause_known and len(row.links) == 1 and link.place is not None:
                found.append((self._at(link.place, row, link), link))
        if not row.links and row.parent is not None and row.parent in self._by_send:
            found.append((self._by_send[row.parent], None))
        return found

    def add_reading(self, sent: Sent, row: SpanRow, link: LinkRow | None) -> None:
        self._read_by.setdefault(row.context, []).append(sent)
        if row.is_process and row.is_error and NOT_A_FAILURE in error_text(row):
            return
        if not sent.key:
            sent.key = row.key or (link.key if link else "")
        if sent.past is None:
            # A batch tells of each record on its link.
            past = past_of(row.attributes, sent.place) or (past_of(link.attributes, sent.place) if link else None)
            if past is not None and past.is_by_framework and sent.send is not None and is_own(sent.send):
                past = replace(past, forwarded="")  # copied by a program that sent an event of its own
            sent.past = past
        reader = Reader(row.group, row.service)
        sent.readers.setdefault(reader.key, reader)
        tries = sent.tries.setdefault(reader.key, [])
        tries.append(Try(process=row) if row.is_process else Try(poll=row))

    def in_order(self) -> list[Sent]:
        for sent in self._all:
            sent.tries = {key: _paired(tries) for key, tries in sorted(sent.tries.items())}
            if sent.send is None:
                sent.sent_ms = min(row.start_ms for tries in sent.tries.values() for row in map(_first, tries))
        return self._all

    def _at(self, place: Place, row: SpanRow, link: LinkRow | None) -> Sent:
        sent = self._by_place.get(place)
        if sent is None:
            contexts = [one.to for one in row.links] + ([row.parent] if row.parent else [])
            sent = next((self._by_send[one] for one in contexts if one in self._by_send), None)
            if sent is None or sent.place is not None or sent.topic != place.topic:
                sent = Sent(
                    place.topic, None, None, row.key or (link.key if link else ""), row.cluster_id, row.start_ms
                )
                self._all.append(sent)
            self._place(sent, place)
        return sent

    def _place(self, sent: Sent, place: Place) -> None:
        sent.place = place
        self._by_place[place] = sent


def _first(one: Try) -> SpanRow:
    return one.poll or one.span


def _paired(tries: Iterable[Try]) -> list[Try]:
    """Put each processing together with the poll that handed its event out, the latest one before it, and with what was
    inferred of that poll."""
    ordered = sorted(tries, key=lambda one: (one.span.start_ns, one.process is not None, one.span.context))
    polls: list[Try] = []
    paired: list[Try] = []
    for one in ordered:
        if one.process is None:
            polls.append(one)
            continue
        fitting = [poll for poll in polls if _may_belong(poll.span, one.span)]
        inferred = _inferred_before(paired, one.process)
        if inferred is not None and not any(poll.span.start_ns > inferred.span.start_ns for poll in fitting):
            inferred.inferred, inferred.process = inferred.process, one.process
            continue
        if fitting:
            one.poll = fitting[-1].poll
            polls.remove(fitting[-1])
        paired.append(one)
    return sorted([*paired, *polls], key=lambda one: (one.span.start_ns, one.span.context))


def _inferred_before(tries: Sequence[Try], said: SpanRow) -> Try | None:
    """The latest try that the same client inferred; None for a processing that is inferred too."""
    if said.is_inferred:
        return None
    own = [one for one in tries if one.process is not None and _may_belong(one.process, said)]
    return own[-1] if own and own[-1].span.is_inferred else None


def _may_belong(poll: SpanRow, process: SpanRow) -> bool:
    if poll.member_id and process.member_id:
        return poll.member_id == process.member_id
    if poll.instance and process.instance:
        return poll.instance == process.instance
    return True

"""`flowtrail journal` says what lies there and does what it is asked, with a status that a script can use."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from flowtrail.cli.app import run
from flowtrail.cli.journal import from_text, spans_and_services
from flowtrail.collector.journal.contract import Position
from flowtrail.collector.journal.delivery import Delivery, Pace
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.ownership import Ownership, owner_of

from .otlp_bodies import body, send, span
from .otlp_endpoint import Endpoint

MANY = 10**6


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Terminal:
    """Runs `flowtrail journal …` on a data directory."""

    def __init__(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ended:
        status = run(["journal", *arguments, "--data-dir", str(self.data_dir)])
        return Ended(status, *self._capsys.readouterr())


@pytest.fixture
def journal_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal(tmp_path, capsys)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with closing(
        SqliteJournal(
            tmp_path / "journal.sqlite", max_bytes=MANY, required=["store"], optional=["export"], keep_bytes=MANY
        )
    ) as journal:
        yield journal


def append(journal: SqliteJournal, count: int) -> list[bytes]:
    bodies = [body(span(send("orders", 0, number))) for number in range(count)]
    journal.append(bodies)
    return bodies


def test_info_tells_depth_readers_and_reasons(journal: SqliteJournal, journal_command: Terminal) -> None:
    bodies = append(journal, 3)
    journal.set_aside("export", journal.read("export", 1, MANY), "http://jaeger answered 400", 5)
    told = journal_command("info")
    assert told.status == 0
    assert "no collector holds it" in told.out
    assert "waiting 3 requests" in told.out
    assert "export set 1 aside: http://jaeger answered 400" in told.out
    said = json.loads(journal_command("info", "--json").out)
    assert (said["id"], said["last"], said["owner_pid"]) == (journal.id, "3", None)
    assert said["waiting"]["size_bytes"] == sum(map(len, bodies))
    assert [(r["name"], r["cursor"], r["behind"]["requests"]) for r in said["readers"]] == [
        ("export", "1", 2),
        ("store", "0", 3),
    ]


def test_info_names_the_process_that_holds_the_journal(
    journal: SqliteJournal, journal_command: Terminal, tmp_path: Path
) -> None:
    assert owner_of(tmp_path) is None
    with Ownership(tmp_path):
        assert f"held by process {os.getpid()}" in journal_command("info").out
        refused = journal_command("salvage")
        assert (refused.status, f"process {os.getpid()}" in refused.err) == (2, True)
    assert "no collector holds it" in journal_command("info").out


def test_tail_shows_the_last_requests_with_their_services(journal: SqliteJournal, journal_command: Terminal) -> None:
    append(journal, 5)
    journal.append([b"\xff\xff no message"])
    lines = journal_command("tail", "--no-follow", "--last", "2").out.splitlines()
    assert [line.split()[0] for line in lines] == ["5", "6"]
    assert "1 spans" in lines[0]
    assert lines[1].endswith("–")
    said = [json.loads(line) for line in journal_command("tail", "--no-follow", "--json").out.splitlines()]
    assert [told["position"] for told in said] == ["1", "2", "3", "4", "5", "6"]
    assert (said[0]["spans"], sum(said[0]["services"].values()), said[5]["spans"]) == (1, 1, None)


def test_tail_goes_on_with_what_comes_until_it_is_interrupted(
    journal: SqliteJournal, journal_command: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, 1)
    pauses = iter([lambda: journal.append([body(span(send("late", 0, 9)))])])

    def pause(_: float) -> None:
        try:
            next(pauses)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("flowtrail.cli.journal.time.sleep", pause)
    told = journal_command("tail")
    assert [line.split()[0] for line in told.out.splitlines()] == ["1", "2"]
    assert told.status == 130


def test_replay_sets_a_reader_back_when_no_collector_runs(journal: SqliteJournal, journal_command: Terminal) -> None:
    append(journal, 4)
    journal.commit("export", (Position(0, 4),))
    told = journal_command("replay", "--from", "3", "--reader", "export")
    assert (told.status, "reads 2 requests again once a collector starts" in told.out) == (0, True)
    assert [position.offset for position in journal.read("export", 9, MANY).positions] == [3, 4]
    assert "has not read that far yet" in journal_command("replay", "--from", "1").out


def test_replay_waits_for_a_collector_that_runs(
    journal: SqliteJournal, journal_command: Terminal, tmp_path: Path
) -> None:
    bodies = append(journal, 4)
    taken: list[bytes] = []
    delivery = Delivery(journal, "store", lambda joined, _: taken.append(joined), Pace(2, MANY), is_reserving=True)
    while delivery.step():
        pass
    delivery.start()
    with Ownership(tmp_path):
        told = journal_command("replay", "--from", "oldest")
    delivery.stop()
    assert (told.status, f"process {os.getpid()} reads 4 requests again" in told.out) == (0, True)
    assert b"".join(taken) == b"".join(bodies) * 2


def test_replay_sends_what_is_kept_to_another_endpoint_and_counts_what_is_refused(
    journal: SqliteJournal, journal_command: Terminal
) -> None:
    bodies = append(journal, 5)
    endpoint = Endpoint()
    try:
        endpoint.refuses = bodies[3]
        told = journal_command("replay", "--from", "2", "--to", endpoint.url)
        assert (told.status, "3 requests were sent, 1 were refused" in told.out) == (1, True)
        assert endpoint.bodies == [bodies[1], bodies[2], bodies[4]]
        endpoint.refuses = None
        assert journal_command("replay", "--from", "1h", "--to", endpoint.url).status == 0
        assert endpoint.bodies[3:] == [b"".join(bodies)]
        url = endpoint.url
    finally:
        endpoint.close()
    told = journal_command("replay", "--from", "2", "--to", url)
    assert (told.status, "go on with --from 2" in told.err) == (3, True)
    assert journal.depth("store").requests == 5  # the journal's own readers are where they were


def test_what_was_set_aside_is_listed_and_tried_again(journal: SqliteJournal, journal_command: Terminal) -> None:
    assert journal_command("set-aside").out == "Nothing was set aside.\n"
    assert journal_command("retry").status == 4
    append(journal, 2)
    journal.set_aside("store", journal.read("store", 1, MANY), "bad bytes", 5)
    assert journal_command("set-aside").out.rstrip().endswith("bad bytes")
    assert json.loads(journal_command("set-aside", "--json").out)["position"] == "1"
    assert journal_command("retry", "2").status == 4
    assert "1 request is tried again" in journal_command("retry", "1", "--reader", "store").out
    assert journal.read("store", 1, MANY).positions == [Position(1, 1)]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["replay", "--from", "yesterday"], 2, "no position"),
        (["replay", "--from", "1", "--reader", "nobody"], 4, "it has export, store"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence(
    journal: SqliteJournal, journal_command: Terminal, arguments: list[str], status: int, told: str
) -> None:
    ended = journal_command(*arguments)
    assert (ended.status, told in ended.err, ended.out) == (status, True, "")


def test_a_directory_without_a_journal_is_told(journal_command: Terminal) -> None:
    for command in (["info"], ["tail"], ["replay", "--from", "1"], ["set-aside"], ["retry"], ["salvage"]):
        ended = journal_command(*command)
        assert (ended.status, "there is no journal" in ended.err) == (4, True)


def test_from_is_a_position_or_a_time() -> None:
    assert from_text("17", 0) == (16, None)
    assert from_text("0", 0) == (0, None)
    assert from_text("oldest", 0) == (0, None)
    assert from_text("2h", 7_200_001) == (None, 1)
    assert from_text("1970-01-01T00:00:01+00:00", 0) == (None, 1000)


def test_bytes_that_are_no_request_have_no_spans() -> None:
    assert spans_and_services(b"\xff") is None
    assert spans_and_services(b"") == (0, {})

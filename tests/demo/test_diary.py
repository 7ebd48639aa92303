"""What a process writes down is read as it was written, also when it was killed while it wrote."""

import json
from pathlib import Path

import pytest

from flowtrail.demo import diary as diary_module
from flowtrail.demo.diary import Diaries, Diary
from flowtrail.demo.truth import Place

ORDER = Place("orders", 0, 7)


def test_handling_is_noted_from_begin_to_end_and_is_the_cause_of_what_is_sent(tmp_path: Path) -> None:
    diary = Diary(tmp_path, "packers")
    with diary.handling("packers", ORDER):
        diary.sent("parcels", 1, 2, ["o-1"], began_ms=5)
    diary.sent("parcels", 1, 3, ["o-1"], began_ms=6)
    diary.close()
    lines = Diaries(tmp_path).read()
    assert [line["kind"] for line in lines] == ["begun", "sent", "handled", "sent"]
    assert [line["cause"] for line in lines if line["kind"] == "sent"] == [
        [{**ORDER._asdict(), "group": "packers"}],
        [],
    ]


def test_a_failure_is_noted_and_goes_on(tmp_path: Path) -> None:
    diary = Diary(tmp_path, "packers")
    with pytest.raises(KeyError), diary.handling("packers", ORDER):
        raise KeyError("XTS")
    diary.close()
    assert [(line["kind"], line.get("error")) for line in Diaries(tmp_path).read()] == [
        ("begun", None),
        ("failed", "KeyError: 'XTS'"),
    ]


def test_lines_of_several_processes_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    first, second = Diary(tmp_path, "a"), Diary(tmp_path, "b")
    for diary in (second, first, second):
        diary.note("started", group=None)
    for diary in (first, second):
        diary.close()
    assert [line["process"] for line in Diaries(tmp_path).read()] == ["b", "a", "b"]


def test_a_line_that_is_not_whole_yet_is_read_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "packers.jsonl"
    path.write_text('{"time_ms": 1, "kind": "started"}\n{"time_ms": 2, "ki')
    diaries = Diaries(tmp_path)
    assert [line["time_ms"] for line in diaries.read()] == [1]
    version = diaries.version
    assert diaries.read() is diaries.lines
    assert diaries.version == version
    with path.open("a") as file:
        file.write('nd": "closed"}\n')
    assert [line["kind"] for line in diaries.read()] == ["started", "closed"]
    assert diaries.version > version


def test_without_an_end_neither_the_files_nor_the_memory_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diary_module, "_LONGEST_FILE_BYTES", 500)
    monkeypatch.setattr(diary_module, "_REMEMBERED_LINES", 10)
    diaries = Diaries(tmp_path, is_endless=True)
    diary = Diary(tmp_path, "packers")
    diary.note("started", group="packers")
    for number in range(100):
        diary.note("handled", number=number)
        diaries.read()
    diary.close()
    assert len((tmp_path / "packers.jsonl").read_bytes()) < 1000
    assert len(diaries.lines) <= 22
    assert diaries.lines[0]["kind"] == "started"
    assert diaries.lines[-1]["number"] == 99


def test_every_line_is_json_by_itself(tmp_path: Path) -> None:
    diary = Diary(tmp_path, "packers")
    diary.note("failed", error="two\nlines")
    diary.close()
    [line] = (tmp_path / "packers.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == "two\nlines"

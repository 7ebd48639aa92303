"""What no SDK sends is refused, or stored: never taken and then lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.collector_process import CollectorProcess, span_ids
from benchmarks.fuzz import GRPC, JSON, PROTOBUF, Result, Sender, kept_ids, run, set_aside
from benchmarks.fuzz_bodies import CORPUS

BODIES = sorted(path.name for path in CORPUS.iterdir() if path.suffix in {".pb", ".json"})


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(scope="module")
def collector(data_dir: Path) -> Iterator[CollectorProcess]:
    """One collector for the tests of this file; the last of them stops it."""
    process = CollectorProcess(data_dir, retention_days="0")
    yield process
    if process.is_running():
        process.kill()


@pytest.fixture(scope="module")
def sender(collector: CollectorProcess) -> Iterator[Sender]:
    opened = Sender(collector)
    yield opened
    opened.close()


@pytest.mark.parametrize("how", ["", "gzip", "cut", "lie"])
@pytest.mark.parametrize("name", BODIES)
def test_a_kept_body_is_taken_or_blames_its_sender(name: str, how: str, sender: Sender) -> None:
    body = (CORPUS / name).read_bytes()
    for way in (JSON,) if name.endswith(".json") else (PROTOBUF, GRPC):
        sender.send(way, body, how)


def test_what_was_taken_of_the_kept_bodies_is_stored(
    sender: Sender, collector: CollectorProcess, data_dir: Path
) -> None:
    assert kept_ids((CORPUS / "everything.pb").read_bytes()) <= sender.taken
    collector.wait_until_drained()
    collector.stop()
    assert set_aside(data_dir) == []
    assert sender.taken <= span_ids(data_dir)


def test_a_short_fuzzing_finds_nothing() -> None:
    result = run(seconds=0, examples=20)
    assert (result.findings, result.missing) == ([], 0)
    assert {way.split()[0] for way in result.answers} == {PROTOBUF, JSON, GRPC}


def test_a_finding_and_a_span_that_is_missing_are_wrong() -> None:
    right = Result(answers={"grpc OK": 1})
    assert right.is_right
    assert not Result().is_right
    assert not Result(answers={"grpc OK": 1}, missing=1).is_right

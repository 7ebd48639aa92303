"""A torn journal, as the crash benchmark makes it, is what a power cut may leave: no less than was synchronised."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.torn_journal import last_commit, tear


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """The folder of a database as a killed process leaves it: three commits in the log, and a fourth that never was."""
    with closing(sqlite3.connect(tmp_path / "living", isolation_level=None)) as living:
        living.execute("PRAGMA journal_mode = WAL")
        living.execute("PRAGMA cache_size = 1")  # pages of what is not committed go to the log too
        living.execute("CREATE TABLE said (body BLOB)")
        living.execute("INSERT INTO said VALUES (zeroblob(9000))")
        living.execute("INSERT INTO said VALUES (zeroblob(9000))")
        living.execute("BEGIN")
        living.execute("INSERT INTO said VALUES (randomblob(900000))")
        for name in ("living", "living-wal"):
            shutil.copy(tmp_path / name, tmp_path / name.replace("living", "left"))
    return tmp_path


def count(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "left")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(database.execute("SELECT count(*) FROM said").fetchone()[0])


@pytest.mark.parametrize("seed", range(5))
def test_what_was_committed_is_there_after_any_tear(left_behind: Path, seed: int) -> None:
    assert tear(left_behind / "left-wal", random.Random(seed)) > 0
    assert count(left_behind) == 2


def test_what_follows_the_last_commit_is_none_of_it(left_behind: Path) -> None:
    log = (left_behind / "left-wal").read_bytes()
    committed = last_commit(log)
    assert 0 < committed < len(log)
    assert last_commit(log[: committed + 1]) == committed
    (left_behind / "left-wal").write_bytes(log[: committed - 1])
    assert count(left_behind) == 1
    assert 0 < last_commit(log[: committed - 1]) < committed


def test_no_log_is_not_torn(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert tear(tmp_path / "empty", random.Random(1)) == tear(tmp_path / "none", random.Random(1)) == 0

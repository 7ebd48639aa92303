"""A disk that is full, read-only or has lost bytes: a clear error, nothing else lost, and it goes on once mended."""

import os
import random
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.torn_journal import last_commit
from flowtrail.cli.app import run
from flowtrail.collector.journal.contract import JournalError, Position
from flowtrail.collector.journal.salvage import DAMAGED, salvage
from flowtrail.collector.journal.sqlite import SqliteJournal

from .journal_contract import bodies_of, size

MANY = 10**9
NOBODY = 65534
BODIES = [random.Random(number).randbytes(150_000) for number in range(20)]


def opened(path: Path) -> SqliteJournal:
    return SqliteJournal(path / "journal.sqlite", max_bytes=MANY, required=["store"])


def filled(path: Path) -> Path:
    """A journal of a request a row, folded into its file."""
    with closing(opened(path)) as journal:
        for body in BODIES:
            journal.append([body])
        journal.commit("store", (Position(0, 2),))
    return path / "journal.sqlite"


def damage(file: Path, text: bytes) -> None:
    """Change the bytes in the middle of a text that lies in a file."""
    data = bytearray(file.read_bytes())
    at = data.index(text[1000:1100])
    data[at : at + 10] = bytes(10)
    file.write_bytes(data)


def everything(journal: SqliteJournal) -> list[bytes]:
    return bodies_of(journal.read("store", 10**6, MANY))


@contextmanager
def disk_full_at(size_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond a size: the system refuses the write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def not_as_root() -> Iterator[None]:
    """Permissions hold in the block, for the system's administrator too."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_full_disk_refuses_and_keeps_what_it_has_and_takes_more_when_it_is_not_full(tmp_path: Path) -> None:
    taken = 0
    with closing(opened(tmp_path)) as journal:
        with disk_full_at(1_500_000):
            with suppress(JournalError):
                for body in BODIES:
                    journal.append([body])
                    taken += 1
            assert 0 < taken < len(BODIES)
            assert everything(journal) == BODIES[:taken]
            with pytest.raises(JournalError, match="cannot write the journal"):
                journal.append(BODIES[taken : taken + 2])
        assert not any(done.is_duplicate for done in journal.append(BODIES[taken:]))
    with closing(opened(tmp_path)) as journal:
        assert everything(journal) == BODIES
        assert size(journal.depth()) == (len(BODIES), sum(map(len, BODIES)))


def test_a_read_only_directory_is_told_at_the_start_and_when_it_can_be_written_all_is_there() -> None:
    # Not in pytest's directory, which nobody else may enter.
    folder = Path(tempfile.mkdtemp())
    try:
        filled(folder)
        folder.chmod(0o555)
        (folder / "journal.sqlite").chmod(0o444)
        with not_as_root(), pytest.raises(JournalError, match=r"cannot open the journal .*(readonly|unable)"):
            opened(folder)
        folder.chmod(0o755)
        (folder / "journal.sqlite").chmod(0o644)
        with closing(opened(folder)) as journal:
            assert everything(journal) == BODIES[2:]
    finally:
        shutil.rmtree(folder)


def test_a_log_that_lost_its_end_costs_only_what_lay_there(tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(opened(tmp_path)) as journal:
        for body in BODIES[:5]:
            journal.append([body])
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            shutil.copy(tmp_path / name, crashed / name)
    log_file = crashed / "journal.sqlite-wal"
    log = log_file.read_bytes()
    assert last_commit(log) == len(log)
    os.truncate(log_file, len(log) - 100)
    with closing(opened(crashed)) as journal:
        assert everything(journal) == BODIES[:4]
        assert not journal.append([BODIES[4]])[0].is_duplicate
        assert everything(journal) == BODIES[:5]


def test_changed_bytes_are_never_given_out_and_what_lies_before_them_is(tmp_path: Path) -> None:
    damage(filled(tmp_path), BODIES[5])
    with closing(opened(tmp_path)) as journal:
        batch = journal.read("store", 10**6, MANY)
        assert bodies_of(batch) == BODIES[2:5]
        journal.commit("store", batch.end)
        with pytest.raises(JournalError, match=r"requests 6 to 6 .* journal salvage"):
            journal.read("store", 1, MANY)
        [done] = journal.append([b"intake goes on"])
        assert done.position == Position(0, len(BODIES) + 1)


def test_a_salvaged_journal_goes_on_and_what_was_changed_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = filled(tmp_path)
    with closing(opened(tmp_path)) as journal:
        name = journal.id
        journal.reserve("store", (Position(0, 9),))
    damage(file, BODIES[5])
    assert run(["journal", "salvage", "--data-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "are whole, 1 were set aside, 0 are lost; the damaged file is" in told
    with closing(opened(tmp_path)) as journal:
        assert journal.id == name
        assert everything(journal) == [*BODIES[2:5], *BODIES[6:9]]  # up to what was reserved
        [kept] = journal.those_set_aside()
        assert (kept.position, kept.reason, len(kept.body)) == (Position(0, 6), DAMAGED, len(BODIES[5]))
        assert journal.append([BODIES[5]])[0].is_duplicate
        [done] = journal.append([b"new"])
        assert done.position == Position(0, len(BODIES) + 1)
    assert list(tmp_path.glob("journal.sqlite.damaged-*"))


def test_a_file_that_lost_its_end_is_refused_with_the_way_out_and_salvaged(tmp_path: Path) -> None:
    file = filled(tmp_path)
    os.truncate(file, file.stat().st_size * 2 // 3)
    with pytest.raises(JournalError, match=r"malformed.*flowtrail journal salvage"):
        opened(tmp_path)
    done = salvage(file, 5)
    assert done.whole + done.lost >= len(BODIES) - 2
    assert done.lost > 0
    with closing(opened(tmp_path)) as journal:
        left = everything(journal)
        assert 5 < len(left) < len(BODIES)
        assert left == [body for body in BODIES if body in left]
        assert not journal.append([b"new"])[0].is_duplicate
        journal.commit("store", journal.read("store", 10**6, MANY).end)
        assert not journal.wait("store", 0)


@pytest.mark.parametrize("seed", range(12))
def test_wherever_a_page_is_lost_what_lies_on_others_is_salvaged(tmp_path: Path, seed: int) -> None:
    file = filled(tmp_path)
    pages = file.stat().st_size // 65536
    lost = random.Random(seed).sample(range(1, pages), 2)
    with file.open("r+b") as opened_file:
        for page in lost:
            opened_file.seek(page * 65536)
            opened_file.write(random.Random(seed).randbytes(65536))
    try:
        salvage(file, 5)
    except JournalError:  # the list of tables lay there
        assert file.stat().st_size == pages * 65536  # it lies where it lay
        return
    with closing(opened(tmp_path)) as journal:
        left = everything(journal)
        assert set(left) <= set(BODIES)
        # A body takes three pages; two lost pages are at most two bodies, or a page of the tables with their rows.
        gone = len(BODIES) - 2 - len(left)
        assert gone <= 9, f"pages {lost} of {pages} cost {gone} requests"


def test_lost_pages_in_the_table_and_in_its_index_cost_only_the_rows_that_lay_there(tmp_path: Path) -> None:
    bodies = [b"request %05d %s" % (number, bytes(50)) for number in range(6000)]
    with closing(opened(tmp_path)) as journal:
        for body in bodies:
            journal.append([body])
    file = tmp_path / "journal.sqlite"
    data = bytearray(file.read_bytes())
    # Kinds of pages, and their count of cells: https://sqlite.org/fileformat2.html, section 1.6.
    leaves = {
        kind: [
            at
            for at in range(65536, len(data), 65536)
            if data[at] == kind and (kind == 10 or marker in data[at:][:65536])
        ]
        for kind, marker in ((10, b""), (13, b"request "))
    }
    extents = [at for at in leaves[10] if int.from_bytes(data[at + 3 : at + 5], "big") > 1000]
    assert len(extents) >= 2
    lost = leaves[13][len(leaves[13]) // 2]
    rows = int.from_bytes(data[lost + 3 : lost + 5], "big")
    data[lost : lost + 65536] = bytes(65536)
    file.write_bytes(data)
    with closing(SqliteJournal(file, max_bytes=MANY, required=["store"], keep_bytes=MANY)) as journal:
        before = journal.read("store", 10**6, MANY)
        assert bodies_of(before) == bodies[: len(before)]
        journal.commit("store", before.end)
        with pytest.raises(JournalError, match="journal salvage"):
            journal.read("store", 1, MANY)
    with file.open("r+b") as opened_file:
        opened_file.seek(extents[0])
        opened_file.write(bytes(65536))
    with pytest.raises(JournalError, match="journal salvage"):
        opened(tmp_path)
    done = salvage(file, 5)
    assert (done.lost, len(bodies) - done.whole) == (rows, rows)
    with closing(opened(tmp_path)) as journal:
        assert everything(journal) == bodies[len(before) + rows :]


def test_bytes_that_are_no_database_are_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"something else" * 1000)
    with pytest.raises(JournalError, match="nothing can be read"):
        salvage(file, 5)
    assert file.read_bytes() == b"something else" * 1000


def test_a_journal_that_was_whole_is_the_same_once_salvaged(tmp_path: Path) -> None:
    file = filled(tmp_path)

    def rows() -> list[list[tuple[object, ...]]]:
        with closing(sqlite3.connect(file)) as connection:
            return [
                connection.execute(f"SELECT * FROM {table}").fetchall()
                for table in ("groups", "seen", "readers", "batches", "set_aside", "about")
            ]

    before = rows()
    done = salvage(file, 5)
    assert (done.set_aside, done.lost, rows()) == (0, 0, before)

"""What a service knows that it did, apart from any tracing: one JSON object a line, one file a process.

The ground truth that Flowtrail is judged by. A line is on its way to the disk before the service goes on, so a
process that is killed has told everything that it did. Kinds of lines, beside `time_ms`, `process` and `pid`:

    started, joined, closed, traced           of the process; `joined` when its group gave it partitions,
                                              `traced` with its tracer's own counts
    sent, not_sent                            topic, partition, offset, orders, began_ms, cause, error
    polled, begun, handled, failed            topic, partition, offset, group, error
    committed                                 topic, partition, offset (the next one to read), group
    ordered, stopped                          by the supervisor: an order and its fault; a process that it ended
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

Line: TypeAlias = dict[str, Any]

_LONGEST_FILE_BYTES: Final = 4_000_000
_REMEMBERED_LINES: Final = 5_000
_OF_PROCESSES: Final = frozenset({"started", "closed", "stopped"})


class Record(Protocol):
    """What the diary needs of a consumed record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def time_now_ms() -> float:
    """Return the time, in ms since the epoch."""
    return time.time_ns() / 1e6


class Diary:
    """Appends lines to `{folder}/{process}.jsonl`; any thread may write. Raises OSError when it cannot."""

    def __init__(self, folder: Path, process: str) -> None:
        self._process = process
        self._file = (folder / f"{process}.jsonl").open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._in_hand: list[Line] = []

    def note(self, kind: str, **facts: Any) -> None:
        """Append one line."""
        line = {"time_ms": time_now_ms(), "kind": kind, "process": self._process, "pid": os.getpid(), **facts}
        text = json.dumps(line) + "\n"
        with self._lock:
            self._file.write(text)

    def polled(self, record: Record, group: str) -> None:
        """Note that a poll returned this record."""
        self.note("polled", **_place(record), group=group)

    @contextmanager
    def handling(self, group: str, *records: Record) -> Iterator[None]:
        """Note the begin and the end of handling; an exception is noted as the failure, and goes on.

        What is sent meanwhile was caused by these records.
        """
        self._in_hand = [{**_place(record), "group": group} for record in records]
        for place in self._in_hand:
            self.note("begun", **place)
        try:
            yield
        except BaseException as error:
            for place in self._in_hand:
                self.note("failed", **place, error=f"{type(error).__name__}: {error}")
            raise
        else:
            for place in self._in_hand:
                self.note("handled", **place)
        finally:
            self._in_hand = []

    def sent(self, topic: str, partition: int, offset: int, orders: list[str], began_ms: float) -> None:
        """Note an acknowledged event; `began_ms` is when it was handed to the producer."""
        where = {"topic": topic, "partition": partition, "offset": offset}
        self.note("sent", **where, orders=orders, began_ms=began_ms, cause=self._in_hand)

    def not_sent(self, topic: str, orders: list[str], began_ms: float, error: BaseException) -> None:
        """Note an event that the producer or the broker refused."""
        reason = f"{type(error).__name__}: {error}"
        self.note("not_sent", topic=topic, orders=orders, began_ms=began_ms, cause=self._in_hand, error=reason)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()


class Diaries:
    """Reads what all processes of a run wrote, as they write it. `version` changes with every new line.

    `is_endless`: nobody will ask for the whole truth, so what is old or long is thrown away, on the disk too.
    """

    def __init__(self, folder: Path, *, is_endless: bool = False) -> None:
        self._folder = folder
        self._is_endless = is_endless
        self._read_bytes: dict[Path, int] = {}
        self.lines: list[Line] = []
        self.version = 0

    def read(self) -> list[Line]:
        """Return all whole lines so far, in the order of their time; a line that is being written waits."""
        is_new = False
        for path in sorted(self._folder.glob("*.jsonl")):
            begin = self._read_bytes.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                whole, newline, _ = file.read().rpartition(b"\n")
            if not newline:
                continue
            self._read_bytes[path] = begin + len(whole) + 1
            if self._is_endless and self._read_bytes[path] > _LONGEST_FILE_BYTES:
                os.truncate(path, 0)  # its writer appends: the next line is the first
                self._read_bytes[path] = 0
            self.lines.extend(json.loads(text) for text in whole.split(b"\n"))
            is_new = True
        if is_new:
            self.version += 1
            self.lines.sort(key=lambda line: line["time_ms"])
            if self._is_endless and len(self.lines) > 2 * _REMEMBERED_LINES:
                old, recent = self.lines[:-_REMEMBERED_LINES], self.lines[-_REMEMBERED_LINES:]
                self.lines = [line for line in old if line["kind"] in _OF_PROCESSES] + recent
        return self.lines


def _place(record: Record) -> Line:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}

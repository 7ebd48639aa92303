"""One collector owns a data directory, by a lock on a file in it. The system drops the lock however a process ends."""

import fcntl
import os
from pathlib import Path
from types import TracebackType


class AlreadyOwned(Exception):
    """Another process holds the directory."""


class Ownership:
    """Held while the `with` block runs. Raises AlreadyOwned, which says by whom, or OSError."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def __enter__(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._data_dir / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise AlreadyOwned(
                f"{self._data_dir} is in use by another collector (process {owner}); stop it, or set another data_dir"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)


def owner_of(data_dir: Path) -> int | None:
    """Return the process that holds a data directory; None when nobody does, or when that cannot be told."""
    try:
        file = os.open(data_dir / "owner", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(file, 32).decode("ascii", "replace").strip()
        return int(owner) if owner.isdigit() else None
    finally:
        os.close(file)
    return None

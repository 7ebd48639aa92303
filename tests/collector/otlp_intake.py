"""An intake for tests of the receivers: a real journal, and what was written to it."""

from collections.abc import Sequence
from pathlib import Path

from flowtrail.collector.admission import Admission
from flowtrail.collector.journal.contract import Appended, JournalFull
from flowtrail.collector.journal.group_commit import GroupCommit
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.receivers.intake import Intake
from flowtrail.collector.receivers.signals import OtherSignals

MAX_BODY_BYTES = 100_000


class _Journal(SqliteJournal):
    """Remembers what was written to it; says that it is full when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "journal", max_bytes=10**8, required=["store"])
        self.bodies: list[bytes] = []
        self.is_full = False

    def append(self, bodies: Sequence[bytes]) -> list[Appended]:
        if self.is_full:
            raise JournalFull("the journal is full")
        appended = super().append(bodies)
        self.bodies += [body for body, done in zip(bodies, appended, strict=True) if not done.is_duplicate]
        return appended


class IntakeHere:
    """`intake` is for a receiver; `bodies` is what the journal has of it."""

    def __init__(
        self, folder: Path, other_signals: OtherSignals = "drop", max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self.journal = _Journal(folder)
        self._group_commit = GroupCommit(self.journal)
        self.intake = Intake(self._group_commit, Admission(max_body_bytes), other_signals)

    @property
    def bodies(self) -> list[bytes]:
        return self.journal.bodies

    def close(self) -> None:
        self.intake.close()
        self._group_commit.close()
        self.journal.close()

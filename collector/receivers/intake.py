"""What becomes of a request's body once a wire has it whole: the same on every wire.

    traces ─▶ admission ─▶ journal ─▶ answered when it is durable
    metrics, logs ─▶ unfolded and counted, then dropped, or refused

Each wire has one of its own, on its own event loop. Large bodies are unfolded and parsed on a thread, so that the
small ones do not wait.
"""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from google.protobuf.message import Message

from flowtrail.collector.admission import UNAVAILABLE, Admission, Peer, Refusal
from flowtrail.collector.journal.contract import JournalError, JournalFull
from flowtrail.collector.journal.group_commit import GroupCommit

from .decompression import UNFOLDED_BY
from .signals import TRACES, OtherSignals, Signal, count_items

# Up to this, a body is parsed in less time than a thread takes to begin; a folded one may be a thousand times larger.
SMALL_BODY_BYTES: Final = 32 * 1024
SMALL_FOLDED_BYTES: Final = 2 * 1024
# A sender that takes longer than this for its body keeps memory for nothing.
BODY_TIMEOUT_S: Final = 60.0


class Intake:
    """Counts what it took and refused; counts are read from any thread.

    `received` and `duplicates` are requests of traces, `received_bytes` as they came, `admitted_bytes` unfolded;
    `refused` all that were not taken, by reason; `dropped` the data points and log records that were not kept, by
    signal. `welcome` and `memory` are admission's: a wire asks before it reads, and holds what it read.
    """

    def __init__(self, journal: GroupCommit, admission: Admission, other_signals: OtherSignals) -> None:
        self.received = 0
        self.duplicates = 0
        self.received_bytes = 0
        self.admitted_bytes = 0
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.max_body_bytes = admission.max_body_bytes
        self.welcome = admission.welcome
        self.memory = admission.memory
        self._journal = journal
        self._admission = admission
        self._other_signals = other_signals
        # Two: parsing holds the interpreter, unfolding does not.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="admit")

    async def take(self, signal: Signal, data: bytes, content_type: str, content_encoding: str, peer: Peer) -> Message:
        """Return the response to a request, once what was admitted of it is durable. Raises Refusal, not yet counted.

        `content_type` is PROTOBUF or JSON.
        """
        handle = self._traces if signal is TRACES else self._others
        return await handle(signal, data, content_type, content_encoding, peer)

    def close(self) -> None:
        """Take no more bodies. One that is being parsed is not waited for: its sender has no answer and comes again."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _traces(
        self, signal: Signal, data: bytes, content_type: str, content_encoding: str, peer: Peer
    ) -> Message:
        if _is_small(data, content_encoding):
            admitted = self._admission.admit(data, content_type, content_encoding, peer)
        else:
            admitted = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._admission.admit, data, content_type, content_encoding, peer
            )
        if admitted.body:
            try:
                with self.memory.holding(len(admitted.body)):
                    appended = await self._journal.add(admitted.body)
            except (JournalFull, JournalError) as error:
                reason = "journal_full" if isinstance(error, JournalFull) else "journal_error"
                raise Refusal(503, UNAVAILABLE, reason, str(error), error.retry_after_s) from error
            self.duplicates += appended.is_duplicate
        self.received += 1
        self.received_bytes += len(data)
        self.admitted_bytes += len(admitted.body)
        return signal.answer(admitted.rejected_spans, admitted.message)

    async def _others(
        self, signal: Signal, data: bytes, content_type: str, content_encoding: str, peer: Peer
    ) -> Message:
        def count() -> int:
            return count_items(signal, self._admission.unfold(data, content_encoding, peer), content_type)

        if _is_small(data, content_encoding):
            items = count()
        else:
            items = await asyncio.get_running_loop().run_in_executor(self._threads, count)
        self.dropped[signal.name] += items
        if self._other_signals == "refuse" and items:
            return signal.answer(items, f"{signal.name} are not kept here, only traces are")
        return signal.answer()


def _is_small(data: bytes, content_encoding: str) -> bool:
    return len(data) <= (SMALL_FOLDED_BYTES if content_encoding in UNFOLDED_BY else SMALL_BODY_BYTES)

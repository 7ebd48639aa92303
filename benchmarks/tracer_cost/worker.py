"""One measurement: a loop of one client, without tracing and with it in turn, chunk by chunk.

python -m benchmarks.tracer_cost.worker CLIENT send|consume|consume_batch VARIANT BOOTSTRAP TOPIC CHUNKS RECORDS

Prints one line of JSON (`Measured`). CPU time, not time on the clock: what else the machine does counts for little.
`caller` is the thread that runs the loop, `process` all threads until the spans were handed over to the receiver.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from benchmarks.tracer_cost.loops import LOOPS, VALUE, Loops
from benchmarks.tracer_cost.variants import Variant, variant_of


@dataclass(slots=True)
class Measured:
    """Microseconds a record, an entry for each chunk. `records` were traced in all, those of the warm-up included.

    `noted`, `exported` and `dropped` are Flowtrail's own counts of spans; 0 for the others.
    """

    bare_caller_us: list[float] = field(default_factory=list)
    bare_process_us: list[float] = field(default_factory=list)
    caller_us: list[float] = field(default_factory=list)
    process_us: list[float] = field(default_factory=list)
    records: int = 0
    noted: int = 0
    exported: int = 0
    dropped: int = 0


def measure(
    client: str, operation: str, variant: Variant, bootstrap_servers: str, topic: str, chunks: int, records: int
) -> Measured:
    """Run `chunks` pairs of chunks after a pair to warm up, and return what they took."""
    consumes = operation != "send"
    bare = LOOPS[client]()
    bare.open(bootstrap_servers, topic, consumes=consumes)
    traced = bare
    if bare.is_by_class:
        variant.switch_on()
        traced = LOOPS[client]()
        traced.open(bootstrap_servers, topic, consumes=consumes)

    def chunk(loops: Loops, headers: object) -> None:
        if not consumes:
            loops.send(records, headers)
        elif (loops.consume if operation == "consume" else loops.consume_batch)(records) != records * len(VALUE):
            raise RuntimeError("other records came than were sent")

    measured = Measured()
    for number in range(chunks + 1):
        if consumes:
            bare.rewind()
        bare_caller_us, bare_process_us = _cost(lambda: chunk(bare, None), _nothing, records)
        if not bare.is_by_class:
            variant.switch_on()
        if consumes:
            traced.rewind()
        caller_us, process_us = _cost(lambda: chunk(traced, variant.headers), variant.flush, records)
        if not bare.is_by_class:
            variant.switch_off()
        measured.records += records
        if number:
            measured.bare_caller_us.append(bare_caller_us)
            measured.bare_process_us.append(bare_process_us)
            measured.caller_us.append(caller_us)
            measured.process_us.append(process_us)
    if traced is bare:
        variant.switch_on()  # the last record's span ends with its consumer
    else:
        bare.close()
    traced.close()
    variant.switch_off()
    variant.flush()
    return measured


def _cost(chunk: Callable[[], None], flush: Callable[[], None], records: int) -> tuple[float, float]:
    """Return what a chunk takes: on this thread until it is done, in all threads until the spans are out."""
    process_ns, caller_ns = time.process_time_ns(), time.thread_time_ns()
    chunk()
    caller_ns = time.thread_time_ns() - caller_ns
    flush()
    process_ns = time.process_time_ns() - process_ns
    return caller_ns / records / 1000, process_ns / records / 1000


def _nothing() -> None:
    return None


def main() -> None:
    client, operation, name, bootstrap_servers, topic, chunks, records = sys.argv[1:]
    variant = variant_of(name, client)
    measured = measure(client, operation, variant, bootstrap_servers, topic, int(chunks), int(records))
    if name == "flowtrail":
        import flowtrail

        health = flowtrail.health()
        measured.noted, measured.exported, measured.dropped = health.noted, health.exported, health.dropped
    print(json.dumps(asdict(measured)), flush=True)


if __name__ == "__main__":
    main()

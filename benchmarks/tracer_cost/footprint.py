"""What the tracer takes beside time in the loop: its import, and the memory of a full queue.

python -m benchmarks.tracer_cost.footprint import
python -m benchmarks.tracer_cost.footprint memory bare|flowtrail|contrib BOOTSTRAP TOPIC

Prints one line of JSON. `memory` wants the exporter's endpoint to be one that never answers, so that the queue fills.
"""

import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.tracer_cost.loops import KafkaPython
from benchmarks.tracer_cost.variants import variant_of

# Sent at a time, and how often at most until the queue is full.
PORTION = 1000
MOST_PORTIONS = 40


def import_cost() -> dict[str, float]:
    """Return the CPU time of importing Flowtrail once the SDK is there, and of the SDK's own import (ms)."""
    began_ns = time.process_time_ns()
    import_module("opentelemetry.sdk.trace")
    sdk_ns = time.process_time_ns()
    import_module("flowtrail")
    ended_ns = time.process_time_ns()
    return {"sdk_ms": (sdk_ns - began_ns) / 1e6, "flowtrail_ms": (ended_ns - sdk_ns) / 1e6}


def memory_cost(name: str, bootstrap_servers: str, topic: str) -> dict[str, float]:
    """Return what the process grew by (MB) from sends without tracing to a queue full of spans.

    `dropped` spans of Flowtrail's show that it was full. An exporter is made before, with the HTTP library that it
    brings, since it is there with any tracing. The client libraries are there too: `instrument` imports all of them.
    """
    import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter()
    for client in ("kafka", "confluent_kafka.aio", "aiokafka"):
        import_module(client)
    loops = KafkaPython()
    loops.open(bootstrap_servers, topic, consumes=False)
    for _ in range(10):
        loops.send(PORTION, None)
    before_mb = resident_mb()
    variant = variant_of(name, "kafka-python")
    variant.switch_on()
    dropped = portions = 0
    while portions < MOST_PORTIONS and (dropped < PORTION or portions < 10):
        loops.send(PORTION, variant.headers)
        portions += 1
        if name == "flowtrail":
            import flowtrail

            dropped = flowtrail.health().dropped
    return {"added_mb": resident_mb() - before_mb, "dropped": dropped}


def resident_mb() -> float:
    """Return the memory that this process has in use; where the system does not tell, the most that it ever had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    what, *given = sys.argv[1:]
    print(json.dumps(import_cost() if what == "import" else memory_cost(*given)), flush=True)
    os._exit(0)  # nobody waits for an exporter whose receiver hangs


if __name__ == "__main__":
    main()

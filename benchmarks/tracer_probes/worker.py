"""One probe with one way of tracing.

python -m benchmarks.tracer_probes.worker CLIENT PROBE WAY BOOTSTRAP

Prints one line of JSON: `{"said": "right" | "wrong" | "raised" | "not meant", "why": text}`.
"""

import asyncio
import inspect
import json
import os
import sys
from importlib import import_module
from typing import Final

from .topics import Topic
from .traced import NotMeant, Wrong, traced_by

MODULES: Final = {"kafka-python": "kafka_python", "confluent-kafka": "confluent", "aiokafka": "aiokafka"}


def main() -> None:
    client, probe, way, bootstrap_servers = sys.argv[1:]
    traced = traced_by(way, client)
    module = import_module(f"benchmarks.tracer_probes.{MODULES[client]}")
    traced.switch_on()
    said, why = "right", ""
    try:
        probed = getattr(module, probe)(traced, Topic(bootstrap_servers))
        if inspect.iscoroutine(probed):
            asyncio.run(probed)
    except NotMeant as reason:
        said, why = "not meant", str(reason)
    except Wrong as reason:
        said, why = "wrong", str(reason)
    except Exception as error:  # out of a client that works when nobody traces it, as the way "bare" shows
        said, why = "raised", f"{type(error).__name__}: {error}"
    print(json.dumps({"said": said, "why": why}), flush=True)
    os._exit(0)  # a probe may leave a client that waits for its broker


if __name__ == "__main__":
    main()

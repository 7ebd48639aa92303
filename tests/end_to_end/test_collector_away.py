"""What a service loses when its collector is away: spans, which are counted and told in one line, and nothing else."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flowtrail.demo.embedded_broker import KAFKA_PYTHON_OPTIONS, EmbeddedBroker

RECORDS = 400
SERVICE = f"""
import json, logging, sys
import flowtrail
from kafka import KafkaConsumer, KafkaProducer
from opentelemetry import trace

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
logging.getLogger("kafka").setLevel(logging.ERROR)  # it warns of its own, of a topic that it has not yet heard of, say
flowtrail.instrument(service="payments")
options = {{"bootstrap_servers": sys.argv[1], **{KAFKA_PYTHON_OPTIONS!r}}}
with KafkaProducer(**options) as producer:
    sent = [producer.send("orders", b"%d" % n) for n in range({RECORDS})]
    acknowledged = {{(told.partition, told.offset) for told in (future.get(60) for future in sent)}}
handled = []
with KafkaConsumer("orders", group_id="payments", auto_offset_reset="earliest", **options) as consumer:
    for record in flowtrail.processing(consumer):
        handled.append(int(record.value))
        if len(handled) == {RECORDS}:
            break
trace.get_tracer_provider().shutdown()
health = flowtrail.health()
print(json.dumps({{
    "acknowledged": len(acknowledged),
    "handled": sorted(handled),
    "noted": health.noted,
    "exported": health.exported,
    "dropped": health.dropped,
    "kept_from_program": health.interceptor_errors,
}}))
"""


@pytest.fixture
def address(way: str) -> Iterator[str]:
    """Where a collector that is down or hanging would be."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if way == "hanging":
            listener.listen(64)  # the kernel takes the connection, and nobody reads
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["down", "hanging"])
def test_a_service_works_on_without_its_collector(way: str, address: str) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        # Small, so that spans are dropped at the full queue too, not only with their batch.
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    began_s = time.monotonic()
    with EmbeddedBroker() as broker:
        ended = subprocess.run(
            [sys.executable, "-c", SERVICE, broker.bootstrap_servers],
            env=variables,
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    assert told["acknowledged"] == RECORDS
    assert told["handled"] == list(range(RECORDS))
    assert told["noted"] >= 2 * RECORDS  # each record was sent and processed
    assert told["dropped"] == told["noted"]
    assert told["exported"] == told["kept_from_program"] == 0
    lines = ended.stderr.splitlines()
    assert [line for line in lines if not re.match(r"WARNING flowtrail\.tracer \d+ spans dropped", line)] == []
    minutes_begun = 1 + (time.monotonic() - began_s) // 60
    assert 1 <= len(lines) <= minutes_begun

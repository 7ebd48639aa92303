"""Load for a receiver: requests that are encoded once and get new ids at every send.

python -m benchmarks.otlp_load URL --seconds 10 --spans 512 --connections 4      prints one line of JSON
"""

import argparse
import http.client
import json
import resource
import sys
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

# The half of every trace id that changes from request to request; as bytes it occurs nowhere else.
SALT: Final = b"\xfe\xed\xfa\xce\xca\xfe\xbe\xef"
HEADERS: Final = {"content-type": "application/x-protobuf"}


def template(spans: int, now_ns: int, service: str = "orders") -> bytes:
    """Return a request of realistic Kafka spans, half sends and half processes, whose trace ids begin with SALT."""
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(
                    attributes=[
                        _text("service.name", service),
                        _text("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
                        _text("telemetry.sdk.language", "python"),
                        _text("telemetry.sdk.name", "opentelemetry"),
                    ]
                ),
                scope_spans=[
                    ScopeSpans(
                        scope=InstrumentationScope(name="flowtrail", version="1"),
                        spans=[_span(number, now_ns) for number in range(spans)],
                    )
                ],
            )
        ]
    ).SerializeToString()


def with_ids(encoded: bytes, number: int) -> bytes:
    """Return the request with trace ids that no other number gives."""
    return encoded.replace(SALT, number.to_bytes(8, "big"))


def _span(number: int, now_ns: int) -> Span:
    is_send = number % 2 == 0
    operation = "send" if is_send else "process"
    start_ns = now_ns - number * 1_000_003
    attributes = [
        _text("messaging.system", "kafka"),
        _text("messaging.operation.name", operation),
        _text("messaging.operation.type", operation),
        _text("messaging.destination.name", "orders" if is_send else "payments"),
        _text("messaging.destination.partition.id", str(number % 12)),
        KeyValue(key="messaging.kafka.offset", value=AnyValue(int_value=1_000_000 + number)),
        _text("messaging.kafka.message.key", f"order-{number * 7919 % 100_000}"),
        _text("messaging.client.id", "orders-1"),
        _text("messaging.kafka.cluster.id", "sBx9L1TqQ1mgn_Gzxm78ZA"),
        _text("server.address", "kafka-1.internal"),
        KeyValue(key="messaging.message.body.size", value=AnyValue(int_value=300 + number % 200)),
    ]
    if not is_send:
        attributes.append(_text("messaging.consumer.group.name", "payments-workers"))
    trace_id = SALT + (number // 2 + 1).to_bytes(8, "big")
    return Span(
        trace_id=trace_id,
        span_id=(number + 1).to_bytes(8, "big"),
        name=f"{operation} {'orders' if is_send else 'payments'}",
        kind=Span.SPAN_KIND_PRODUCER if is_send else Span.SPAN_KIND_CONSUMER,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 500_000 + number * 4_001 % 3_000_000,
        attributes=attributes,
        links=[] if is_send else [Span.Link(trace_id=trace_id, span_id=number.to_bytes(8, "big"))],
        flags=0x101,
    )


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _send(url: str, encoded: bytes, first: int, step: int, until_s: float, accepted: list[int]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    number = first
    while time.monotonic() < until_s:
        connection.request("POST", parts.path, with_ids(encoded, number), HEADERS)
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            accepted.append(number)
            number += step
        elif response.status == 503:
            time.sleep(0.2)
        else:
            raise RuntimeError(f"the receiver answered {response.status}")
    connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--spans", type=int, default=512)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    encoded = template(options.spans, time.time_ns())
    first = time.time_ns()
    began_s = time.monotonic()
    accepted: list[list[int]] = [[] for _ in range(options.connections)]
    threads = [
        threading.Thread(
            target=_send,
            args=(options.url, encoded, first + n, options.connections, began_s + options.seconds, accepted[n]),
        )
        for n in range(options.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = resource.getrusage(resource.RUSAGE_SELF)
    requests = sum(map(len, accepted))
    print(
        json.dumps(
            {
                "spans": requests * options.spans,
                "requests": requests,
                "seconds": time.monotonic() - began_s,
                "body_bytes": len(encoded),
                "generator_cpu_s": used.ru_utime + used.ru_stime,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

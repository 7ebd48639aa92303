"""OTLP/JSON to protobuf bytes: the journal and the store know one format.

OTLP's JSON is protobuf's, but for ids, which are hex in any case, not base64 (opentelemetry-proto, "JSON Protobuf
Encoding"). Unknown fields are ignored; enums are integers.
"""

import base64
import binascii
from typing import Any, Final

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ID_FIELDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


class NotOtlpJson(Exception):
    """The text is no ExportTraceServiceRequest."""


def to_message(text: bytes) -> ExportTraceServiceRequest:
    """Return the request that a JSON text says. Raises NotOtlpJson."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotOtlpJson(f"the body is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise NotOtlpJson("the body must be a JSON object")
    for resource_spans in _objects(said, "resourceSpans", "resource_spans"):
        for scope_spans in _objects(resource_spans, "scopeSpans", "scope_spans"):
            for span in _objects(scope_spans, "spans", "spans"):
                _ids_to_base64(span)
                for link in _objects(span, "links", "links"):
                    _ids_to_base64(link)
    try:
        return json_format.ParseDict(said, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise NotOtlpJson(f"the body is not an OTLP traces request: {error}") from error


def _objects(holder: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return the objects of a list field; what has another shape is left for the parser to refuse."""
    lists = [holder[name] for name in names if isinstance(holder.get(name), list)]
    return [item for found in lists[:1] for item in found if isinstance(item, dict)]


def _ids_to_base64(holder: dict[str, Any]) -> None:
    for name in _ID_FIELDS:
        said = holder.get(name)
        if isinstance(said, str):
            try:
                holder[name] = base64.b64encode(binascii.unhexlify(said)).decode()
            except (binascii.Error, ValueError) as error:
                raise NotOtlpJson(f"{name} is not hex: {said[:64]!r}") from error

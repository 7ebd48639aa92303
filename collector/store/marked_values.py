"""Lists and maps that the store keeps as marked OTLP bytes, written as text. Pure.

    otlp-values:CgMKAWE=   a, b              a list that is an attribute of an event or a link
    otlp-list:CgMKAWE=     [a, b]            a list within a span's list, which is text already: `otlp-list:…, c`
    otlp-map:CgcKAW4SAhgB  {n: 1, of: [a]}   a map, wherever it stands

The marks are `schema/0005_marked_values.sql`'s; a span's own list of plain values needs none.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

_MARK: Final = "otlp-"
_MARKED: Final = re.compile(r"otlp-(values|list|map):([A-Za-z0-9+/]*={0,2})")


def readable(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return attributes as people read them. What has no mark, or no such bytes behind it, stays as it is."""
    return {name: _MARKED.sub(_text, value) if _MARK in value else value for name, value in attributes.items()}


def _text(marked: re.Match[str]) -> str:
    kind, encoded = marked.groups()
    try:
        bytes_ = base64.b64decode(encoded, validate=True)
        if kind == "map":
            return _of_map(KeyValueList.FromString(bytes_))
        items = _of_items(ArrayValue.FromString(bytes_))
    except (binascii.Error, DecodeError):
        return marked[0]  # a client's own text, which only looks like ours
    return items if kind == "values" else f"[{items}]"


def _of_items(values: ArrayValue) -> str:
    return ", ".join(map(_of, values.values))


def _of_map(pairs: KeyValueList) -> str:
    return "{" + ", ".join(f"{pair.key}: {_of(pair.value)}" for pair in pairs.values) + "}"


def _of(value: AnyValue) -> str:
    """The text of a value; that of plain ones is the one which the views give them."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return str(value.int_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "double_value":
            return repr(value.double_value).removesuffix(".0")
        case "array_value":
            return f"[{_of_items(value.array_value)}]"
        case "kvlist_value":
            return _of_map(value.kvlist_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _:
            return ""

"""The schema ids that Confluent's serializers put before a payload, or into a header. Pure; quick where there is none.

    00 │ id, 4 bytes big-endian │ payload         the registry's number: "7"
    01 │ GUID, 16 bytes │ payload                 the same in every registry: "1d20cbb9-e5e3-5e97-54e7-00da170b6edb"
    __key_schema_id, __value_schema_id            headers with the same first 5 or 17 bytes; the payload is then bare

Nothing says that a payload is in this format, and the bytes behind the id are the program's own. So what begins with 00
or 01 by chance must not become an id: rather none than one that there is not. In a payload an id counts only

- from 1 to 16 777 215: a registry counts them up;
- not in 8 bytes altogether: those are a big-endian long, as Kafka's own serializers write it;
- a GUID only when it looks like the hash that it is (at least twelve different bytes, one of them beyond ASCII), and
  something follows it.

In the headers there is no doubt, and all are taken.
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from .record import Header

KEY_HEADER: Final = "__key_schema_id"
VALUE_HEADER: Final = "__value_schema_id"

NO_SCHEMAS: Final = (None, None)
# Bytes from here on begin with neither 00 nor 01, as those with a schema do.
SCHEMAS_END: Final = b"\x02"

_ID_BYTES: Final = 5
_GUID_BYTES: Final = 17
_LONG_BYTES: Final = 8
_HIGHEST_ID: Final = 0xFFFFFF
_LEAST_DIFFERENT: Final = 12


def schema_id(data: object) -> str | None:
    """Return the schema's id in front of a serialized key or value; None where there is none, whatever is given."""
    if type(data) is not bytes:
        if data is None or not isinstance(data, (bytes, bytearray, memoryview)):
            return None
        data = _first_bytes(data)
    # The first byte decides for nearly all payloads: text, JSON and plain protobuf begin with neither.
    if len(data) < _ID_BYTES or data[0] > 1:
        return None
    if data[0] == 0:
        number = int.from_bytes(data[1:_ID_BYTES], "big")
        return str(number) if 0 < number <= _HIGHEST_ID and len(data) != _LONG_BYTES else None
    guid = data[1:_GUID_BYTES]
    looks_hashed = len(data) > _GUID_BYTES and len(set(guid)) >= _LEAST_DIFFERENT and not guid.isascii()
    return str(UUID(bytes=guid)) if looks_hashed else None


def schema_ids(key: object, value: object, headers: Iterable[Header] | None = None) -> tuple[str | None, str | None]:
    """Return the ids of key and value, as they are on the wire; a header counts more than the first bytes.

    Give None for a key or value whose serialized bytes are not at hand: the headers are looked at all the same.
    """
    key_schema, value_schema = schema_id(key), schema_id(value)
    for header in headers or ():
        if not isinstance(header, tuple) or len(header) != 2:
            continue
        # The last one counts, as for the headers of a trace: who serialized last wrote it.
        if header[0] == VALUE_HEADER:
            value_schema = _in_header(header[1]) or value_schema
        elif header[0] == KEY_HEADER:
            key_schema = _in_header(header[1]) or key_schema
    return key_schema, value_schema


def _in_header(value: object) -> str | None:
    if not isinstance(value, bytes):
        return None
    if value[:1] == b"\x00" and len(value) >= _ID_BYTES:
        return str(int.from_bytes(value[1:_ID_BYTES], "big"))
    if value[:1] == b"\x01" and len(value) >= _GUID_BYTES:
        return str(UUID(bytes=value[1:_GUID_BYTES]))
    return None


def _first_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Return as much as is looked at, of a large buffer too, and one byte more: that something follows."""
    try:
        if isinstance(data, memoryview) and (data.ndim != 1 or data.format != "B"):
            return data.tobytes()[: _GUID_BYTES + 1]
        return bytes(data[: _GUID_BYTES + 1])
    except ValueError:
        return b""  # a view that was released: the client will say so itself

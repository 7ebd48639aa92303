"""Protobuf's wire format for what OTLP says of attributes: fields, numbers, key-values. Bytes in, bytes out.

    field       tag (number and wire type) │ length, a varint │ body
    KeyValue    1 key │ 2 AnyValue (1 text, 2 bool, 3 int, 4 double, 5 array, 7 bytes)

https://protobuf.dev/programming-guides/encoding/
"""

import functools
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from flowtrail.tracer.counts import COUNTS

_MOST: Final = (1 << 63) - 1
_DOUBLE: Final = Struct("<Bd").pack
# A text of fewer bytes has a length of one byte, and so has the AnyValue around it.
SHORT: Final = 100
# Each seven bits as the last byte of a varint, and as one that is followed by more.
_ONE: Final = [bytes((group,)) for group in range(0x80)]
_MORE: Final = [bytes((group | 0x80,)) for group in range(0x80)]


def encode_attributes(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    """KeyValues as fields `tag`, a byte; what cannot be encoded is left out and counted: the rest is worth having."""
    return tag.join([b"", *attributes_of(attributes)])


def attributes_of(attributes: Mapping[str, Any]) -> list[bytes]:
    """The same as KeyValues before their tag: each a length and a body."""
    encoded = []
    for name, value in attributes.items():
        try:
            if type(value) is int:
                encoded.append(int_attribute(name, value))
            elif type(value) is str:
                encoded.append(text_attribute(name, value))
            else:
                encoded.append(_sized(_name(name) + field(0x12, _value(value))))
        except (TypeError, ValueError) as error:
            COUNTS.fail("attribute", name, error)
    return encoded


def int_attribute(name: str, value: int) -> bytes:
    """A KeyValue before its tag. Raises ValueError for a number of more than 64 bits."""
    number = varint(value) if 0 <= value <= _MOST else _negative(value)
    return _int_head(name, len(number)) + number


def text_attribute(name: str, value: str) -> bytes:
    """A KeyValue before its tag. Raises ValueError for a text that UTF-8 cannot say."""
    text = value.encode()
    if len(text) < SHORT:
        return _text_head(name, len(text)) + text
    return _sized(_name(name) + field(0x12, field(0x0A, text)))


def short_attribute(name: str, text: bytes) -> bytes:
    """A text attribute whose text, in UTF-8, has fewer bytes than `SHORT`."""
    return _text_head(name, len(text)) + text


@functools.lru_cache(maxsize=1024)
def _int_head(name: str, length: int) -> bytes:
    """What stands before a number's varint of this length."""
    body = _name(name) + b"\x12" + _ONE[length + 1] + b"\x18"
    return varint(len(body) + length) + body


@functools.lru_cache(maxsize=4096)
def _text_head(name: str, length: int) -> bytes:
    """What stands before a short text of this length."""
    body = _name(name) + b"\x12" + _ONE[length + 2] + b"\x0a" + _ONE[length]
    return varint(len(body) + length) + body


@functools.lru_cache(maxsize=512)
def _name(name: str) -> bytes:
    return text_field(0x0A, name)


def _value(value: Any) -> bytes:
    """An AnyValue. Raises TypeError or ValueError for what is no attribute's value."""
    match value:
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case str():
            return text_field(0x0A, value)
        case int():
            return b"\x18" + (varint(value) if 0 <= value <= _MOST else _negative(value))
        case float():
            return _DOUBLE(0x21, value)
        case bytes():
            return field(0x3A, value)
        case Sequence():
            return field(0x2A, b"".join([field(0x0A, _value(each)) for each in value]))
    raise TypeError(f"{type(value).__name__} is no attribute's value")


def text_field(tag: int, text: str) -> bytes:
    return field(tag, text.encode())


def field(tag: int, body: bytes) -> bytes:
    """A length-delimited field; `tag` is its number and wire type, below 128."""
    length = len(body)
    return _ONE[tag] + (_ONE[length] if length < 0x80 else varint(length)) + body


def _sized(body: bytes) -> bytes:
    return varint(len(body)) + body


def varint(number: int) -> bytes:
    """Little-endian groups of seven bits; 0 ≤ number < 2⁶⁴."""
    if number < 0x80:
        return _ONE[number]
    if number < 0x4000:
        return _MORE[number & 0x7F] + _ONE[number >> 7]
    if number < 0x200000:
        return _MORE[number & 0x7F] + _MORE[number >> 7 & 0x7F] + _ONE[number >> 14]
    if number < 0x10000000:
        return _MORE[number & 0x7F] + _MORE[number >> 7 & 0x7F] + _MORE[number >> 14 & 0x7F] + _ONE[number >> 21]
    return _long_varint(number)


# Timestamps: the records of a poll share them.
@functools.lru_cache(maxsize=256)
def _long_varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(_MORE[number & 0x7F])
        number >>= 7
    groups.append(_ONE[number])
    return b"".join(groups)


def _negative(number: int) -> bytes:
    """A negative number in two's complement. Raises ValueError for what has no 64 bits."""
    if -(1 << 63) <= number < 0:
        return _long_varint(number + (1 << 64))
    raise ValueError(f"{number} is no 64-bit number")

"""Headers that aiokafka takes: only there can a context be added."""

from typing import Any, Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

# Written in C, aiokafka takes a list alone; in Python (AIOKAFKA_NO_EXTENSIONS) it reads a tuple as well.
_IS_PYTHON: Final = DefaultRecordBatchBuilder.__module__ == "aiokafka.record.default_records"
_CARRIERS: Final = (list, tuple) if _IS_PYTHON else (list,)


def is_sendable(headers: Any) -> bool:
    """Whether the client will take these headers; what it refuses, it gets as it is."""
    if not isinstance(headers, _CARRIERS):
        return False
    for header in headers:
        if not isinstance(header, tuple) or len(header) != 2:
            return False
        name, value = header
        if not isinstance(name, str) or not (value is None or isinstance(value, bytes)):
            return False
    return True

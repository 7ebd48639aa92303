"""What spans say of a record's own content: its key, and the headers that are asked for. The value is never noted.

Pure but for the program's `redact`, which is called here and kept from raising. Everything is text: bytes that are not
UTF-8 have none, and a text longer than `LONGEST` is payload, not a name.
"""

from collections.abc import Iterable
from numbers import Integral
from typing import Final
from uuid import UUID

from . import attributes as names
from .configuration import Configuration
from .counts import COUNTS
from .record import Header

# In characters. Attributes are stored and searched.
LONGEST: Final = 1024
# Enough that two of a million keys are alike once in a hundred million times.
HASH_DIGITS: Final = 16


def captured_key(key: object, configuration: Configuration) -> str | None:
    """Return what is noted of a key; None: nothing.

    A hash is of the key's text in UTF-8, so 42, "42" and b"42" have the same; bytes that are not text are hashed as
    they are. `redact` sees the text, before it is hashed.
    """
    if key is None or configuration.capture_keys == "off":
        return None
    text = key_text(key)
    if configuration.redact is not None and text is not None:
        text = redacted(names.KEY, text, configuration)
        if text is None:
            return None
    if configuration.capture_keys == "text":
        return text if text is None or len(text) <= LONGEST else None
    if text is not None:
        return _hash(text.encode(), configuration.hash_secret)
    return _hash(bytes(key), configuration.hash_secret) if isinstance(key, bytes | bytearray | memoryview) else None


def captured_headers(headers: Iterable[Header] | None, configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """Return attributes for the headers that are asked for: every value of each name, in order.

    The name `messaging.header.<name>` and the list are those of OpenTelemetry's Java agent; the conventions have none.
    A header that is no pair of text and text in UTF-8 is passed over.
    """
    found: dict[str, list[str]] = {}
    if not configuration.capture_headers:
        return {}
    for header in headers or ():
        try:
            name, value = header
            if name not in configuration.capture_headers or not isinstance(value, bytes | str):
                continue
            text = key_text(value)
        except (TypeError, ValueError):  # not a pair, or a name of no sense: the client will say so itself
            continue
        if text is None or len(text) > LONGEST:
            continue
        if configuration.redact is not None:
            text = redacted(names.HEADER + name, text, configuration)
        if text is not None:
            found.setdefault(names.HEADER + name, []).append(text)
    return {name: tuple(values) for name, values in found.items()}


def redacted(name: str, text: str, configuration: Configuration) -> str | None:
    """Return what the program's `redact` makes of a text; None: it is left out, as when `redact` fails."""
    if configuration.redact is None:
        return text
    try:
        seen: object = configuration.redact(name, text)
        if seen is None or (isinstance(seen, str) and _is_unicode(seen)):
            return seen
        if isinstance(seen, str):
            raise ValueError("redact returned half a surrogate pair, which cannot be written in UTF-8")
        raise TypeError(f"redact returns a text or None, not {type(seen).__qualname__}")
    except Exception as error:
        COUNTS.fail("redact", "redact", error)
        return None


def key_text(key: object) -> str | None:
    """Return a key's canonical text, however long; None when it has none."""
    match key:
        case bytes() | bytearray():
            try:
                return key.decode()
            except UnicodeDecodeError:
                return None
        case str():
            return key if key.isascii() or _is_unicode(key) else None
        case bool():
            return None
        case Integral() | UUID():
            try:
                return str(key)
            except ValueError:  # of more digits than Python writes
                return None
        case _:
            return None


def _is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8: one with half a surrogate pair cannot, and no exporter takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash(content: bytes, secret: str) -> str:
    # Imported late, as few programs hash: OpenSSL takes a while to load.
    import hashlib
    import hmac

    if secret:
        return hmac.new(secret.encode(), content, "sha256").hexdigest()[:HASH_DIGITS]
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]

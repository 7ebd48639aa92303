"""By which names a server may be asked: what keeps DNS rebinding out.

A hostile page may give its own name the address of this machine; the browser then takes the server's answers for that
page's own. The name in the `Host` header gives it away: it is one that somebody registered. Addresses, and names
without a dot, nobody can register.
"""

import ipaddress
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

# Reserved: no public name ends so (RFC 6761).
_RESERVED: Final = (".localhost", ".test")


def own_names(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return whether a `Host` header, with or without a port, names this server; `patterns` (`*`, `?`, any case) are
    further names that it has. No header, or one that is no host, does not."""
    further = [pattern.lower().rstrip(".") for pattern in patterns]

    def is_own(header: str) -> bool:
        name = _name(header)
        if not name:
            return False
        if "." not in name or name.endswith(_RESERVED) or _is_address(name):
            return True
        return any(fnmatchcase(name, pattern) for pattern in further)

    return is_own


def _name(header: str) -> str:
    """The name in a header, in lower case; empty where there is none."""
    if not header or header != header.strip() or set("/?#@\\") & set(header):
        return ""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises where it is no number
        return (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""What of the options is secret: it is shown nowhere, and not in the log either."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from .settings import Settings

MASK: Final = "***"
# A shorter one would be found in every other word.
SHORTEST_MASKED: Final = 4

_SECRET_NAME: Final = re.compile(r"password|secret|key$|\.pem$|token$|oauthbearer\.(config|assertion)$", re.I)
# To the last @, since a password may hold one; a path (`chdb:///…`) has no user.
_USER: Final = re.compile(r"(?<=[^:/]://)(?!/).*@")
_QUERY_VALUE: Final = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]*)")
_URLS: Final = ("store_dsn", "export_url")


def masked(name: str, value: Any) -> Any:
    """Return an option's value without what is secret in it: users in URLs, and what is called a password or a key."""
    if isinstance(value, dict):
        return {key: MASK if _SECRET_NAME.search(key) else each for key, each in value.items()}
    if name in _URLS:
        return _QUERY_VALUE.sub(
            lambda found: f"{found[1]}={MASK}" if _SECRET_NAME.search(found[1]) else found[0],
            _USER.sub(f"{MASK}@", value),
        )
    return value


def secrets_of(settings: Settings) -> list[str]:
    """Return the secrets that stand in the options, as they are written and as they are meant, longest first."""
    found = {str(value) for name, value in settings.kafka_properties.items() if _SECRET_NAME.search(name)}
    for name in _URLS:
        url = getattr(settings, name)
        user = _USER.search(url)
        if user is not None:
            password = user[0].removesuffix("@").partition(":")[2] or user[0].removesuffix("@")
            found |= {password, unquote(password)}
        found |= {written[2] for written in _QUERY_VALUE.finditer(url) if _SECRET_NAME.search(written[1])}
        found |= {value for key, value in parse_qsl(urlsplit(url).query) if _SECRET_NAME.search(key)}
    return sorted((one for one in found if len(one) >= SHORTEST_MASKED), key=len, reverse=True)

"""How the log is written: lines for people, or a JSON object a line for what collects them. Secrets are masked in both.

What others say holds what we gave them: a failed request names its URL, a driver the server that it could not reach.
"""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from flowtrail.collector.masking import MASK, secrets_of
from flowtrail.collector.settings import Settings


def set_up_logs(settings: Settings) -> None:
    """Write the log of this process to standard error, unless somebody has set it up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    # It would tell of each server's start and end.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))


def formatter(settings: Settings) -> logging.Formatter:
    """Return what writes a record as `log_format` says."""
    made = JsonLines if settings.log_format == "json" else TextLines
    return made(secrets_of(settings))


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00,000 WARNING flowtrail.collector.service: text`, with the trace of an exception below."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return _without(self._secrets, super().format(record))


class JsonLines(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "thread": …, "message": …}` on one line; of an exception also `exception`
    and `trace`. `time` is UTC as of RFC 3339."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName or "",
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = record.exc_info[0].__qualname__
            told["trace"] = self.formatException(record.exc_info)
        # Before they are written as JSON, which escapes what may stand in a secret.
        return json.dumps({name: _without(self._secrets, text) for name, text in told.items()}, ensure_ascii=False)


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text

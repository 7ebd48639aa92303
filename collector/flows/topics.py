"""Topics that have a meaning by their name: dead-letter topics and retry topics.

Patterns are shell patterns (`*`, `?`, `[…]`), compared without regard to case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

DEAD_LETTER_TOPICS: Final = (
    *("*.dlq", "*-dlq", "*_dlq", "*.dlq.*", "*.dlt", "*-dlt", "*_dlt"),
    *("*dead-letter*", "*dead.letter*", "*dead_letter*", "*deadletter*"),
)
RETRY_TOPICS: Final = ("*.retry", "*-retry", "*_retry", "*.retry.*", "*-retry-*", "*_retry_*", "retry.*", "retry-*")


@dataclass(frozen=True)
class TopicRoles:
    """Tells dead-letter and retry topics from others; a topic that fits both is a dead-letter topic."""

    dead_letter: Sequence[str] = DEAD_LETTER_TOPICS
    retry: Sequence[str] = RETRY_TOPICS

    def is_dead_letter(self, topic: str) -> bool:
        return _fits(topic, self.dead_letter)

    def is_retry(self, topic: str) -> bool:
        return _fits(topic, self.retry) and not self.is_dead_letter(topic)


def _fits(topic: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(topic.lower(), pattern.lower()) for pattern in patterns)

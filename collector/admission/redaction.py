r"""Redaction: what must not be kept is dropped, hashed or masked before anything is written.

A rule is an action and what it is for:

    drop  key:http.request.header.authorization
    hash  key:enduser.*
    mask  value:\b\d{16}\b

`key:` is a pattern of attributes' keys (`*`, `?`), wherever attributes stand, keys within maps too. `value:` is a
regular expression that is searched in texts: attributes', the names of spans and events, messages of statuses.
By key the whole value is dropped, hashed or masked; by value the attribute is dropped, or the part that was found
is hashed or masked. A hash is the first 32 hex digits of HMAC-SHA256 under the collector's secret: equal values stay
equal, and cannot be guessed at without the secret.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

MASK: Final = "***"
_ACTIONS: Final = ("drop", "hash", "mask")
_LITERAL: Final = re.compile(r"[^*?\[\]]+")


class BadRule(ValueError):
    """A text that is no rule; the message says why."""


class Rule(NamedTuple):
    action: str
    kind: str
    pattern: re.Pattern[str]
    literal: bytes  # stands in every key that the pattern matches; empty: nothing does


def parse_rule(text: str) -> Rule:
    """Read a rule. Raises BadRule."""
    action, _, rest = text.strip().partition(" ")
    kind, colon, pattern = rest.strip().partition(":")
    if action not in _ACTIONS or kind not in {"key", "value"} or not colon or not pattern:
        raise BadRule(f"{text!r} is no rule such as 'drop key:enduser.*' or 'mask value:\\d{{16}}'")
    if kind == "key":
        literal = max(_LITERAL.findall(pattern) if "[" not in pattern else [""], key=len, default="")
        return Rule(action, kind, re.compile(translate(pattern)), literal.encode())
    try:
        return Rule(action, kind, re.compile(pattern), b"")
    except re.error as error:
        raise BadRule(f"{pattern!r} is no regular expression: {error}") from error


class Redaction:
    """Rules in their order: the first that is for a key wins, those for values all apply. `secret` is for hashes."""

    def __init__(self, rules: Iterable[Rule], secret: bytes = b"") -> None:
        rules = list(rules)
        self._key_rules = [rule for rule in rules if rule.kind == "key"]
        self._value_rules = [rule for rule in rules if rule.kind == "value"]
        self._secret = secret

    def touches(self, body: bytes) -> bool:
        """Return whether a request may hold something to redact; False is certain. With rules for values it may."""
        return bool(self._value_rules) or any(rule.literal in body for rule in self._key_rules)

    def apply(self, request: ExportTraceServiceRequest) -> int:
        """Redact in place; return how many values were dropped or changed."""
        changed = 0
        for resource in request.resource_spans:
            changed += self._attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                changed += self._attributes(scope.scope.attributes)
                for span in scope.spans:
                    changed += self._attributes(span.attributes)
                    changed += sum(self._attributes(event.attributes) for event in span.events)
                    changed += sum(self._attributes(link.attributes) for link in span.links)
                    if self._value_rules:
                        changed += self._field(span, "name") + self._field(span.status, "message")
                        changed += sum(self._field(event, "name") for event in span.events)
        return changed

    def _attributes(self, attributes: Any) -> int:
        changed = 0
        for index in range(len(attributes) - 1, -1, -1):
            attribute = attributes[index]
            action = next((rule.action for rule in self._key_rules if rule.pattern.match(attribute.key)), None)
            if action is None:
                verdict = self._value(attribute.value)
                changed += verdict is not False
            else:
                verdict = None if action == "drop" else True
                changed += 1
                if action == "mask":
                    attribute.value.string_value = MASK
                elif action == "hash":
                    attribute.value.string_value = self._hash(_text_of(attribute.value))
            if verdict is None:
                del attributes[index]
        return changed

    def _value(self, value: AnyValue) -> bool | None:
        """Redact within a value. True: it was changed, False: it was not, None: it is to be dropped."""
        kind = value.WhichOneof("value")
        if kind == "string_value":
            if not self._value_rules:
                return False
            text = self._text(value.string_value)
            if text is None or text == value.string_value:
                return None if text is None else False
            value.string_value = text
            return True
        if kind == "kvlist_value":
            return self._attributes(value.kvlist_value.values) > 0
        if kind == "array_value":
            verdicts = [self._value(item) for item in value.array_value.values]
            return None if None in verdicts else any(verdicts)
        return False

    def _field(self, holder: Any, name: str) -> bool:
        before = getattr(holder, name)
        text = self._text(before) or "" if before else before
        if text == before:
            return False
        setattr(holder, name, text)
        return True

    def _text(self, text: str) -> str | None:
        """Return a text after the rules for values; None: it is to be dropped."""
        for rule in self._value_rules:
            if rule.action == "drop":
                if rule.pattern.search(text):
                    return None
            else:
                instead: Callable[[re.Match[str]], str] = self._hash_of if rule.action == "hash" else _masked
                text = rule.pattern.sub(instead, text)
        return text

    def _hash_of(self, found: re.Match[str]) -> str:
        return self._hash(found[0].encode()) if found[0] else ""

    def _hash(self, value: bytes) -> str:
        return hmac.new(self._secret, value, hashlib.sha256).hexdigest()[:32]


def _masked(found: re.Match[str]) -> str:
    return MASK if found[0] else ""


def _text_of(value: AnyValue) -> bytes:
    """What is hashed of a value: the text itself, so that other systems can hash alike; else its bytes in OTLP."""
    if value.WhichOneof("value") == "string_value":
        return value.string_value.encode()
    return value.SerializeToString(deterministic=True)

"""Admission as the collector's settings say."""

import ipaddress
from pathlib import Path
from typing import Final

from flowtrail.collector.settings import Settings

from .admission import Admission
from .limits import Limits
from .memory import MemoryGate
from .rates import Rates
from .redaction import BadRule, Redaction, parse_rule
from .tls import TlsFiles
from .tokens import Tokens

# Whoever guesses it finds the values that were hashed.
SHORTEST_SECRET_BYTES: Final = 16


class BadRedaction(Exception):
    """A rule is none, or the secret for hashes cannot be read or is too short; the message says which."""


def admission_of(settings: Settings) -> Admission:
    """Return what both receivers ask. Raises BadTokens, or BadRedaction."""
    limits = Limits(
        spans=settings.max_request_spans,
        attributes=settings.max_attributes,
        links=settings.max_links,
        events=settings.max_events,
        value_bytes=settings.max_value_bytes,
    )
    return Admission(
        settings.max_body_bytes,
        tokens=_tokens(settings.intake_tokens_file),
        redaction=_redaction(settings),
        limits=limits,
        rates=Rates(settings.max_sender_bytes_s),
        memory=MemoryGate(settings.max_memory_bytes),
    )


def api_tokens_of(settings: Settings) -> Tokens | None:
    """Return the tokens of those who ask the API; None: nobody needs one. Raises BadTokens."""
    return _tokens(settings.api_tokens_file)


def intake_tls_of(settings: Settings) -> TlsFiles | None:
    """Return the certificates of the receivers; None: no TLS. Nothing is read yet."""
    if not settings.tls_certificate_file:
        return None
    return TlsFiles(
        Path(settings.tls_certificate_file),
        Path(settings.tls_key_file),
        Path(settings.tls_client_ca_file) if settings.tls_client_ca_file else None,
        settings.tls_client_certificates,
    )


def api_tls_of(settings: Settings) -> TlsFiles | None:
    """Return the API's certificate; None: no TLS. Browsers and probes, which ask it, have none of their own."""
    if not settings.tls_certificate_file:
        return None
    return TlsFiles(Path(settings.tls_certificate_file), Path(settings.tls_key_file))


def open_doors(settings: Settings) -> list[str]:
    """Return a sentence for each server that others can reach and that asks nobody who they are."""
    asks_senders = bool(settings.intake_tokens_file) or (
        bool(settings.tls_client_ca_file) and settings.tls_client_certificates == "required"
    )
    doors = [
        ("OTLP/HTTP", settings.otlp_http_host, asks_senders, "intake_tokens_file"),
        ("OTLP/gRPC", settings.otlp_grpc_host, asks_senders, "intake_tokens_file"),
        ("the API", settings.api_host, bool(settings.api_tokens_file), "api_tokens_file"),
    ]
    return [
        f"{what} listens on {host} and asks nobody who they are: all who reach it may "
        f"{'read every flow' if what == 'the API' else 'send spans'}. Set {option}, or bind it to 127.0.0.1"
        for what, host, asks, option in doors
        if not asks and not _is_loopback(host)
    ]


def _redaction(settings: Settings) -> Redaction | None:
    if not settings.redact:
        return None
    try:
        rules = [parse_rule(text) for text in settings.redact]
    except BadRule as error:
        raise BadRedaction(f"--redact: {error}") from error
    if not settings.redact_secret_file and any(rule.action == "hash" for rule in rules):
        raise BadRedaction("--redact has a rule to hash, which needs --redact-secret-file")
    return Redaction(rules, _secret(settings.redact_secret_file))


def _secret(file: str) -> bytes:
    """Return what stands in a file, without blanks around it; empty without a file. Raises BadRedaction."""
    try:
        secret = Path(file).read_bytes().strip() if file else b""
    except OSError as error:
        raise BadRedaction(f"the secret in {file} cannot be read: {error}") from error
    if file and len(secret) < SHORTEST_SECRET_BYTES:
        raise BadRedaction(
            f"the secret in {file} is shorter than {SHORTEST_SECRET_BYTES} bytes: hashes could be guessed at"
        )
    return secret


def _tokens(file: str) -> Tokens | None:
    return Tokens(Path(file)) if file else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

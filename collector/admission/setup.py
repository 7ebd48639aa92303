"""Admission as the collector's settings say."""

import ipaddress
from pathlib import Path

from flowtrail.collector.settings import Settings

from .admission import Admission
from .tls import TlsFiles
from .tokens import Tokens


def admission_of(settings: Settings) -> Admission:
    """Return what both receivers ask. Raises BadTokens."""
    return Admission(settings.max_body_bytes, tokens=_tokens(settings.intake_tokens_file))


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


def _tokens(file: str) -> Tokens | None:
    return Tokens(Path(file)) if file else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Certificates of the collector's servers, which are taken up anew when their files change: no restart is needed.

Connections that stand keep what they began with. A pair of files that does not fit, as when one of them is not yet
written, leaves the certificate as it was.
"""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import grpc

from .tokens import stamp_of

log = logging.getLogger(__name__)

ClientCertificates = Literal["required", "optional"]

# What the OpenTelemetry SDKs and every browser of the last years know.
_OLDEST: Final = ssl.TLSVersion.TLSv1_2


class BadCertificate(Exception):
    """A certificate, key or authority cannot be read, or they do not fit; the message names the files."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with those that vouch for it, its key without a password, and the authority whose
    client certificates are taken (None: no client is asked for one)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_certificates: ClientCertificates = "required"

    def stamp(self) -> object:
        """Return what changes when one of the files does."""
        return [stamp_of(path) for path in (self.certificate, self.key, self.client_ca) if path is not None]


def http_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context for an HTTP server; it looks at the files at every handshake. Raises BadCertificate."""
    seen, current = files.stamp(), _context(files)
    first = current

    def choose(connection: ssl.SSLObject, _name: str | None, _context_before: ssl.SSLContext) -> None:
        nonlocal seen, current
        if (stamp := files.stamp()) != seen:
            seen = stamp
            try:
                current = _context(files)
                log.info("took up the certificate of %s anew", files.certificate)
            except BadCertificate as error:
                log.error("%s; the certificate stays as it was", error)
        connection.context = current

    first.sni_callback = choose  # called for every client, also one that names no server
    return first


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials for a gRPC server; it looks at the files at every handshake. Raises BadCertificate.

    grpcio knows no optional client certificates: then it asks for none.
    """
    seen, first = files.stamp(), _grpc_configuration(files)

    def look() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        if (stamp := files.stamp()) == seen:
            return None
        seen = stamp
        try:
            return _grpc_configuration(files)
        except BadCertificate as error:
            log.error("%s; the certificate stays as it was", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        first, look, require_client_authentication=files.client_ca is not None and _is_required(files)
    )


def _is_required(files: TlsFiles) -> bool:
    return files.client_certificates == "required"


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _OLDEST
    try:
        # A key with a password would ask for it on a terminal that nobody looks at.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:
        raise BadCertificate(f"{files.certificate} and {files.key} are no certificate and its key: {error}") from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise BadCertificate(f"{files.client_ca} is no authority's certificate: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED if _is_required(files) else ssl.CERT_OPTIONAL
    return context


def _grpc_configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    _context(files)  # grpcio would find out at the first handshake only
    try:
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        authority = None if files.client_ca is None else files.client_ca.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{files.certificate} cannot be read: {error}") from error
    return grpc.ssl_server_certificate_configuration([pair], authority)

"""Certificates: every server speaks TLS with them, asks clients for theirs when told, and takes new ones up."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from flowtrail.collector.admission.tls import BadCertificate, TlsFiles, grpc_credentials, http_context

from .certificates import Authority, serial_number

PATIENCE_S = 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """Connect through memory; return the server's certificate as the client saw it, in DER. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for reads, writes in (ends, ends[::-1]):
        writes.write(b"hello")
        assert reads.read(5) == b"hello"
    return ends[0].getpeercert(binary_form=True)


def trusting(authority: Authority, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def test_a_client_that_knows_the_authority_connects(authority: Authority) -> None:
    server = http_context(TlsFiles(*authority.certificate("server")))
    assert shake_hands(server, trusting(authority))


def test_a_new_certificate_is_used_from_the_next_connection_on(authority: Authority) -> None:
    server = http_context(TlsFiles(*authority.certificate("server")))
    first = shake_hands(server, trusting(authority))
    authority.certificate("server")
    second = shake_hands(server, trusting(authority))
    assert first != second
    assert second == shake_hands(server, trusting(authority))


def test_files_that_do_not_fit_leave_the_certificate_as_it_was(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.certificate("server")
    server = http_context(TlsFiles(certificate, key))
    first = shake_hands(server, trusting(authority))
    key.write_bytes(authority.certificate("other")[1].read_bytes())
    assert shake_hands(server, trusting(authority)) == first
    assert shake_hands(server, trusting(authority)) == first
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_client_without_a_certificate_is_refused_where_one_is_required(authority: Authority) -> None:
    server = http_context(TlsFiles(*authority.certificate("server"), authority.file))
    assert shake_hands(server, trusting(authority, authority.certificate("client")))
    with pytest.raises(ssl.SSLError):
        shake_hands(server, trusting(authority))


def test_a_client_certificate_may_be_left_out_but_not_be_a_strangers_where_it_is_optional(
    authority: Authority, tmp_path: Path
) -> None:
    server = http_context(TlsFiles(*authority.certificate("server"), authority.file, "optional"))
    assert shake_hands(server, trusting(authority))
    stranger = Authority(tmp_path, "stranger").certificate("client")
    with pytest.raises(ssl.SSLError):
        shake_hands(server, trusting(authority, stranger))


def test_files_that_are_wrong_at_the_start_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.certificate("server")
    with pytest.raises(BadCertificate, match="missing"):
        http_context(TlsFiles(tmp_path / "missing", key))
    with pytest.raises(BadCertificate, match="authority"):
        http_context(TlsFiles(certificate, key, key))
    with pytest.raises(BadCertificate, match="missing"):
        grpc_credentials(TlsFiles(certificate, tmp_path / "missing"))


@contextmanager
def echoing(credentials: grpc.ServerCredentials) -> Iterator[int]:
    from concurrent.futures import ThreadPoolExecutor

    def echo(data: bytes, _: Any) -> bytes:
        return data

    handlers = grpc.method_handlers_generic_handler("Echo", {"Say": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handlers])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield port
    server.stop(None).wait()


def say(port: int, authority: Authority, own: tuple[Path, Path] | None = None) -> int:
    """Call the server; return the serial number of its certificate. Raises grpc.RpcError."""
    pair = (own[1].read_bytes(), own[0].read_bytes()) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), *pair)
    # Without a pool of their own, a channel would take over an earlier one's connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        assert channel.unary_unary("/Echo/Say")(b"hello", timeout=PATIENCE_S) == b"hello"
    return serial_number(ssl.get_server_certificate(("127.0.0.1", port)).encode()) if own is None else 0


def test_grpc_takes_a_new_certificate_up_too(authority: Authority) -> None:
    with echoing(grpc_credentials(TlsFiles(*authority.certificate("server")))) as port:
        first = say(port, authority)
        authority.certificate("server")
        assert say(port, authority) != first


def test_grpc_refuses_a_client_without_a_certificate_where_one_is_required(authority: Authority) -> None:
    with echoing(grpc_credentials(TlsFiles(*authority.certificate("server"), authority.file))) as port:
        say(port, authority, authority.certificate("client"))
        with pytest.raises(grpc.RpcError) as refused:
            say(port, authority)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

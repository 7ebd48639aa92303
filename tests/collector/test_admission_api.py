"""Who may ask the API: a name of its own in the Host header, a token where tokens are asked for."""

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from flowtrail.client import Client, CollectorError
from flowtrail.collector.admission.setup import open_doors
from flowtrail.collector.admission.tokens import Tokens
from flowtrail.collector.api.app import make_app
from flowtrail.collector.api.hosts import own_names
from flowtrail.collector.service import StartError, running
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store

from .asking import ask
from .certificates import Authority
from .otlp_bodies import body, send, span
from .test_api import HEALTHY
from .test_service import PROTOBUF, settings_here

TOKEN = "6f1c0b7e9d2a4c58"
OTHER = "91ab3e20c7d64f15"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"grafana {TOKEN}\n")
    return path


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8680",
        "[::1]:8680",
        "10.0.0.7",
        "localhost:8680",
        "COLLECTOR",
        "a.localhost",
        "trace.example.org:80",
    ],
)
def test_addresses_names_without_a_dot_and_told_ones_are_own(host: str) -> None:
    assert own_names(["*.Example.org"])(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.com",
        "evil.com:8680",
        "127.0.0.1.evil.com",
        "evil.com#127.0.0.1",
        "a@127.0.0.1",
        "localhost:x",
        "[::1",
        " a",
    ],
)
def test_a_name_that_somebody_could_register_is_not(host: str) -> None:
    assert not own_names(["*.example.org"])(host)


def app_with(store: Store, tokens_file: Path | None = None, **options: Any) -> Any:
    tokens = None if tokens_file is None else Tokens(tokens_file)
    return make_app(store, Settings(**options), lambda: HEALTHY, tokens=tokens)


def test_a_page_of_another_name_reads_nothing(store: Store) -> None:
    refused = ask(app_with(store), "/v1/health", {"host": "evil.com:8680"})
    assert refused.status_code == 421
    assert "evil.com" in refused.json()["detail"]
    assert ask(app_with(store, api_hosts=["*.com"]), "/v1/health", {"host": "evil.com:8680"}).status_code == 200


def test_without_its_token_nobody_reads_anything(store: Store, tokens_file: Path) -> None:
    app = app_with(store, tokens_file)
    for shown in ({}, {"authorization": f"Bearer {OTHER}"}):
        for path in ("/v1/health", "/openapi.json", "/nothing"):
            refused = ask(app, path, shown)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert ask(app, "/v1/health", {"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_probes_need_neither(store: Store, tokens_file: Path) -> None:
    app = app_with(store, tokens_file)
    assert ask(app, "/healthz", {"host": "evil.com"}).status_code == 200
    assert ask(app, "/readyz", {"host": "evil.com"}).status_code == 200


def test_a_server_that_others_reach_without_a_token_is_warned_of() -> None:
    assert open_doors(Settings()) == []
    open_to_all = Settings(otlp_http_host="0.0.0.0", otlp_grpc_host="::", api_host="10.0.0.7")
    assert [sentence.partition(" listens")[0] for sentence in open_doors(open_to_all)] == [
        "OTLP/HTTP",
        "OTLP/gRPC",
        "the API",
    ]
    asking = Settings(otlp_http_host="0.0.0.0", api_host="0.0.0.0", intake_tokens_file="a", api_tokens_file="b")
    assert open_doors(asking) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls_certificate_file": "a"}, "go together"),
        ({"tls_client_ca_file": "a"}, "needs tls_certificate_file"),
    ],
)
def test_halves_of_tls_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(**options)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path, store_dsn: str) -> None:
    missing = str(tmp_path / "missing")
    for options in ({"api_tokens_file": missing}, {"tls_certificate_file": missing, "tls_key_file": missing}):
        with pytest.raises(StartError, match="missing"), running(settings_here(tmp_path, store_dsn, **options), print):
            pass


def status_of(api_url: str, token: str | None) -> int | None:
    """The status of a refusal. Keeps nothing of it, which would keep its connection."""
    try:
        with Client(api_url, token=token) as client:
            client.health()
    except CollectorError as error:
        return error.status if "FLOWTRAIL_TOKEN" in str(error) else None
    return 200


def test_a_collector_with_tokens_and_certificates_takes_spans_and_questions_only_with_both(
    tmp_path: Path, store_dsn: str, tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.certificate("server")
    own = authority.certificate("client")
    settings = settings_here(
        tmp_path / "data",
        store_dsn,
        intake_tokens_file=str(tokens_file),
        api_tokens_file=str(tokens_file),
        tls_certificate_file=str(certificate),
        tls_key_file=str(key),
        tls_client_ca_file=str(authority.file),
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    monkeypatch.delenv("FLOWTRAIL_TOKEN", raising=False)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    sent = body(span(send("orders", 0, 1), start_ns=time.time_ns()))
    with running(settings, print) as endpoints:
        url = endpoints["otlp_http"] + "/v1/traces"
        assert url.startswith("https://")
        post: dict[str, Any] = {"data": sent, "cert": tuple(map(str, own)), "timeout": 10}
        assert requests.post(url, headers=PROTOBUF, **post).status_code == 401
        assert requests.post(url, headers=PROTOBUF | bearer, **post).status_code == 200
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(), own[1].read_bytes(), own[0].read_bytes()
        )
        with grpc.secure_channel(endpoints["otlp_grpc"].removeprefix("https://"), credentials) as channel:
            export = channel.unary_unary(EXPORT)
            assert export(sent, timeout=10, metadata=[("authorization", bearer["Authorization"])]) == b""
            with pytest.raises(grpc.RpcError) as refused:
                export(sent, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert status_of(endpoints["api"], None) == status_of(endpoints["api"], OTHER) == 401
        monkeypatch.setenv("FLOWTRAIL_TOKEN", TOKEN)
        with Client(endpoints["api"]) as client:
            assert client.health().rejected_requests == {"token": 2}


def test_what_a_netrc_says_does_not_take_the_tokens_place(
    tmp_path: Path, tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    sent: list[str] = []

    def answer(_self: Any, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        sent.append(request.headers["Authorization"])
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response._content = HEALTHY.model_dump_json().encode()
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
    with Client("http://127.0.0.1:1", token=TOKEN) as client:
        client.health()
    assert sent == [f"Bearer {TOKEN}"]

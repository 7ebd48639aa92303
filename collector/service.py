"""Puts the collector's parts together and runs them until it is told to stop.

receiver ─▶ group commit ─▶ journal ─┬─▶ loader ─▶ store ◀─ poller
                                     └─▶ exporter    ▲
                                               API ──┘
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from pydantic import ValidationError

from .admission import Admission
from .admission.setup import BadRedaction, admission_of, api_tls_of, api_tokens_of, intake_tls_of, open_doors
from .admission.tls import BadCertificate, TlsFiles, grpc_credentials, http_context
from .admission.tokens import BadTokens
from .api.answers import Health, ReaderHealth
from .api.app import make_app
from .exporters import otlp_http as exporting
from .http_server import GRACE_S, serving
from .journal.contract import Depth, JournalError
from .journal.delivery import Delivery
from .journal.group_commit import GroupCommit
from .journal.sqlite import SqliteJournal
from .lag.broker import check_properties
from .lag.poller import Poller
from .ownership import AlreadyOwned, Ownership
from .receivers import otlp_grpc
from .receivers.intake import Intake
from .receivers.otlp_grpc import OtlpGrpcReceiver
from .receivers.otlp_http import OtlpHttpReceiver
from .settings import Settings
from .store import loader as loading
from .store.connection import Store, StoreError, open_store
from .store.migrations import StoreTooNew
from .store.upkeep import sizes
from .telemetry.deliveries import DeliveryTimes
from .telemetry.logs import set_up_logs
from .telemetry.readings import Parts, Readings

log = logging.getLogger(__name__)

ENDPOINTS_FILE: Final = "endpoints.json"


class StartError(Exception):
    """The collector cannot run as it is set up; the message says what to change."""


class Broken(Exception):
    """A part of the running collector ended by itself. The log says why; a new start may help."""


def run(settings: Settings) -> None:
    """Run a collector until SIGINT or SIGTERM. Raises StartError, or Broken once it runs; it has stopped then.

    Must be called on the main thread, for the signals. Once everything is up, `endpoints.json` in the data directory
    says where: `{"otlp_http": url, "otlp_grpc": url, "api": url, "pid": n}`; it goes at the end.
    """
    stop = threading.Event()
    broken: list[str] = []

    def break_off(name: str) -> None:
        broken.append(name)
        stop.set()

    with _stopping_on_signals(stop), running(settings, break_off) as endpoints:
        log.info(
            "OTLP/HTTP on %s/v1/traces, OTLP/gRPC on %s, API on %s",
            endpoints["otlp_http"],
            endpoints["otlp_grpc"],
            endpoints["api"],
        )
        stop.wait()
        log.info("stopping")
    if broken:
        raise Broken(f"the {broken[0]} server ended by itself")


@contextmanager
def running(settings: Settings, break_off: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A collector that runs while the block does; yields what `endpoints.json` says. Raises StartError.

    `break_off` is called with the name of a server that ends before the block does, on that server's thread.
    """
    endpoints_file = settings.data_dir / ENDPOINTS_FILE
    with ExitStack() as parts:
        try:
            check_properties(settings.kafka_properties)
        except ValueError as error:
            raise StartError(f"--kafka-properties: {error}") from error
        try:
            admission, api_tokens = admission_of(settings), api_tokens_of(settings)
            intake_tls, api_tls = intake_tls_of(settings), api_tls_of(settings)
            intake_options, api_options = _tls_options(intake_tls), _tls_options(api_tls)
            credentials = grpc_credentials(intake_tls) if intake_tls is not None else None
        except (BadRedaction, BadTokens, BadCertificate) as error:
            raise StartError(str(error)) from error
        for sentence in open_doors(settings):
            log.warning("%s", sentence)
        try:
            parts.enter_context(Ownership(settings.data_dir))
            endpoints_file.unlink(missing_ok=True)
            store = open_store(settings.store_dsn, settings.database)
            parts.callback(store.close)
            store.keep_for_days(settings.retention_days)
            journal = SqliteJournal(
                settings.data_dir / "journal.sqlite",
                max_bytes=settings.journal_max_bytes,
                max_age_ms=settings.journal_max_age_s * 1000,
                keep_bytes=settings.journal_keep_bytes,
                required=[loading.READER],
                optional=[exporting.READER] if settings.export_url else [],
            )
            parts.callback(journal.close)
            otlp_socket = _listen(settings.otlp_http_host, settings.otlp_http_port, "--otlp-http-port")
            parts.callback(otlp_socket.close)
            api_socket = _listen(settings.api_host, settings.api_port, "--api-port")
            parts.callback(api_socket.close)
        except (AlreadyOwned, StoreError, StoreTooNew, JournalError, OSError) as error:
            raise StartError(str(error)) from error

        deliveries = [loading.loader(journal, store)]
        if settings.export_url:
            deliveries.append(exporting.exporter(journal, settings.export_url))
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of when it began
        registry = CollectorRegistry()
        times = DeliveryTimes(registry)
        for delivery in deliveries:
            delivery.timed = times.of(delivery.reader)
            delivery.start()
            parts.callback(delivery.stop)

        group_commit = GroupCommit(journal)
        parts.callback(group_commit.close)
        intakes = [Intake(group_commit, admission, settings.other_signals) for _ in ("http", "grpc")]
        for intake in intakes:
            parts.callback(intake.close)

        poller = Poller(settings, store) if settings.bootstrap_servers else None
        if poller is not None:
            poller.start()
            parts.callback(poller.stop)

        health = _Health(journal, store, admission, intakes, deliveries, poller, settings)
        by_http, by_grpc = intakes
        ProcessCollector(registry=registry)
        registry.register(
            Readings(
                Parts(
                    intakes={"http": by_http, "grpc": by_grpc},
                    admission=admission,
                    journal=journal,
                    journal_max_bytes=settings.journal_max_bytes,
                    deliveries=deliveries,
                    poller=poller,
                    health=health,
                    sizes=lambda: sizes(store),
                )
            )
        )
        try:
            grpc_port = parts.enter_context(
                otlp_grpc.serving(
                    OtlpGrpcReceiver(by_grpc),
                    settings.otlp_grpc_host,
                    settings.otlp_grpc_port,
                    lambda: break_off("otlp-grpc"),
                    credentials=credentials,
                    grace_s=GRACE_S,
                )
            )
        except OSError as error:
            raise StartError(f"{error}; --otlp-grpc-port takes another port") from error
        parts.enter_context(serving(OtlpHttpReceiver(by_http), otlp_socket, "otlp-http", break_off, **intake_options))
        app = make_app(store, settings, health, tokens=api_tokens, registry=registry)
        parts.enter_context(serving(app, api_socket, "api", break_off, **api_options))

        endpoints = {
            "otlp_http": _url(*otlp_socket.getsockname()[:2], tls=intake_tls),
            "otlp_grpc": _url(settings.otlp_grpc_host, grpc_port, tls=intake_tls),
            "api": _url(*api_socket.getsockname()[:2], tls=api_tls),
            "pid": os.getpid(),
        }
        _write_atomically(endpoints_file, json.dumps(endpoints))
        parts.callback(endpoints_file.unlink, missing_ok=True)
        yield endpoints


class _Health:
    """The collector's own state, told anew at every call."""

    def __init__(
        self,
        journal: SqliteJournal,
        store: Store,
        admission: Admission,
        intakes: list[Intake],
        deliveries: list[Delivery],
        poller: Poller | None,
        settings: Settings,
    ) -> None:
        self._journal = journal
        self._store = store
        self._admission = admission
        self._intakes = intakes
        self._deliveries = deliveries
        self._poller = poller
        self._settings = settings

    def __call__(self) -> Health:
        reason = None
        stored_spans = rejected_spans = set_aside_requests = 0
        depth, before_store = Depth(0, 0), Depth(0, 0)
        readers: list[ReaderHealth] = []
        try:
            depth, before_store = self._journal.depth(), self._journal.depth(loading.READER)
            set_aside_requests = self._journal.count_set_aside(loading.READER)
            readers = [self._reader(delivery) for delivery in self._deliveries]
        except JournalError as error:
            reason = f"the journal cannot be read: {error}"
        try:
            [(stored_spans, rejected_spans)] = self._store.query(
                "SELECT coalesce(sum(total_rows), 0),"
                f" (SELECT coalesce(sum(spans), 0) FROM {self._store.database}.rejected) FROM system.tables"
                " WHERE database = {database:String} AND name = 'spans'",
                {"database": self._store.database},
            )
        except StoreError as error:
            reason = reason or f"the store cannot be reached: {error}"
        # A tenth is kept free: whoever balances load by readiness should go elsewhere before requests are refused.
        if reason is None and before_store.size_bytes > 0.9 * self._settings.journal_max_bytes:
            reason = "the journal is nearly full: the store does not keep up"
        return Health(
            version=metadata.version("flowtrail"),
            ready=reason is None,
            reason=reason,
            received_requests=sum(intake.received for intake in self._intakes),
            duplicate_requests=sum(intake.duplicates for intake in self._intakes),
            rejected_requests=dict(sum((Counter(intake.refused) for intake in self._intakes), Counter())),
            dropped_items=dict(sum((Counter(intake.dropped) for intake in self._intakes), Counter())),
            altered_items=dict(self._admission.altered),
            set_aside_requests=set_aside_requests,
            journal_bytes=depth.size_bytes,
            journal_requests=depth.requests,
            stored_spans=stored_spans,
            rejected_spans=rejected_spans,
            readers=readers,
            broker=self._poller.status() if self._poller is not None else None,
        )

    def _reader(self, delivery: Delivery) -> ReaderHealth:
        before = self._journal.depth(delivery.reader)
        progress = delivery.progress
        return ReaderHealth(
            name=delivery.reader,
            behind_requests=before.requests,
            behind_bytes=before.size_bytes,
            skipped_requests=self._journal.skipped(delivery.reader),
            set_aside_requests=self._journal.count_set_aside(delivery.reader),
            last_error=progress.last_error,
            last_error_ms=progress.last_error_ms,
            last_success_ms=progress.last_success_ms,
        )


def _listen(host: str, port: int, option: str) -> socket.socket:
    """Return a bound socket. Raises OSError that names the address, and the option that says another port."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        raise OSError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; {option} takes another port"
        ) from error


def _tls_options(files: TlsFiles | None) -> dict[str, Any]:
    """uvicorn's options for TLS; none without. Raises BadCertificate."""
    if files is None:
        return {}
    context = http_context(files)
    return {"ssl_context_factory": lambda *_: context}


def _url(host: str, port: int, *, tls: TlsFiles | None) -> str:
    scheme = "http" if tls is None else "https"
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_atomically(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    new.replace(path)


def main() -> int:
    """Run a collector from the environment alone; 2 when it cannot be run as it is set up, 1 when it broke."""
    try:
        settings = Settings()
        set_up_logs(settings)
        run(settings)
    except (ValidationError, StartError) as error:
        print(f"flowtrail: {error}", file=sys.stderr)
        return 2
    except Broken as error:
        print(f"flowtrail: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

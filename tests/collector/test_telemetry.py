"""`/metrics`: every metric that is documented, with the values that the parts have."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flowtrail.collector.admission import Admission
from flowtrail.collector.api.answers import Health
from flowtrail.collector.journal.contract import JournalError
from flowtrail.collector.journal.delivery import Delivery, Pace, Refused, Unavailable
from flowtrail.collector.journal.group_commit import GroupCommit
from flowtrail.collector.journal.sqlite import SqliteJournal
from flowtrail.collector.receivers.intake import Intake
from flowtrail.collector.store.connection import StoreError
from flowtrail.collector.store.upkeep import TableSize
from flowtrail.collector.telemetry.deliveries import DeliveryTimes
from flowtrail.collector.telemetry.metrics import METRICS
from flowtrail.collector.telemetry.readings import Parts, Readings

from .otlp_bodies import body, logs, span
from .test_service import PROTOBUF, running_here, until

Samples = dict[tuple[str, tuple[str, ...]], float]

HEALTHY = Health(
    version="1",
    ready=True,
    received_requests=0,
    duplicate_requests=0,
    rejected_requests={},
    set_aside_requests=0,
    journal_bytes=0,
    journal_requests=0,
    stored_spans=0,
    rejected_spans=3,
    readers=[],
)


def asked(api_url: str) -> Samples:
    return samples(requests.get(api_url + "/metrics", timeout=10).text)


def samples(text: str) -> Samples:
    """Values by name and by the labels' values, in the order of the labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_served_is_what_is_documented(tmp_path: Path, store_dsn: str) -> None:
    with running_here(tmp_path, store_dsn) as (api, _):
        text = requests.get(api + "/metrics", timeout=10).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name: family for name, family in families.items() if not name.startswith("process_")}
    assert set(ours) == {name.removesuffix("_total") for name in METRICS}
    for name, metric in METRICS.items():
        family = ours[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help.replace("\n", " "))
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
    assert "process_resident_memory_bytes" in families


def test_requests_are_counted_by_wire_and_refusals_by_reason(tmp_path: Path, store_dsn: str) -> None:
    with running_here(tmp_path, store_dsn) as (api, traces):
        one = body(span())
        assert requests.post(traces, data=one, headers=PROTOBUF, timeout=10).status_code == 200
        assert requests.post(traces, data=one, headers=PROTOBUF, timeout=10).status_code == 200
        assert requests.post(traces, data=b"\xff", headers=PROTOBUF, timeout=10).status_code == 400
        told = asked(api)
        assert told["flowtrail_intake_requests_total", ("http",)] == 2
        assert told["flowtrail_intake_requests_total", ("grpc",)] == 0
        assert told["flowtrail_intake_duplicate_requests_total", ("http",)] == 1
        assert told["flowtrail_intake_refused_requests_total", ("malformed", "http")] == 1
        assert told["flowtrail_intake_received_bytes_total", ("http",)] == 2 * len(one)
        assert told["flowtrail_intake_admitted_bytes_total", ("http",)] == 2 * len(one)
        assert told["flowtrail_ready", ()] == 1
        until(lambda: asked(api)["flowtrail_reader_requests_total", ("store",)] == 1)
        told = asked(api)
        assert told["flowtrail_reader_delivery_seconds_count", ("taken", "store")] == 1
        assert told["flowtrail_reader_waiting_requests", ("store",)] == 0
        assert ("flowtrail_reader_oldest_timestamp_seconds", ("store",)) not in told
        stored = [labels for name, labels in told if name == "flowtrail_store_parts"]
        assert stored
        assert all(told["flowtrail_store_bytes", labels] > 0 for labels in stored)
        other = traces.replace("/v1/traces", "/v1/logs")
        requests.post(other, data=logs(2).SerializeToString(), headers=PROTOBUF, timeout=10)
        assert asked(api)["flowtrail_intake_dropped_items_total", ("logs", "http")] == 2


def test_the_apis_requests_are_counted_by_the_pattern_of_their_path(tmp_path: Path, store_dsn: str) -> None:
    with running_here(tmp_path, store_dsn) as (api, _):
        for path in ("/v1/flows/" + "a" * 32, "/v1/flows/" + "b" * 32, "/no/such/path", "/v1/health"):
            requests.get(api + path, timeout=10)
        requests.get(api + "/v1/health", headers={"Host": "evil.example"}, timeout=10)
        told = asked(api)
    counted = {labels: n for (name, labels), n in told.items() if name == "flowtrail_api_requests_total"}
    (flow,) = [labels for labels in counted if labels[0].startswith("/v1/flows/")]
    assert "{" in flow[0]
    assert (counted[flow], flow[1]) == (2, "404")
    assert counted["other", "404"] == 1
    assert counted["other", "421"] == 1
    assert counted["/v1/health", "200"] == 1
    assert told["flowtrail_api_request_duration_seconds_count", ("/v1/health",)] == 1


class Scene:
    """Readings over a journal with one reader, without any server."""

    def __init__(self, journal: SqliteJournal, commit: GroupCommit) -> None:
        self.registry = CollectorRegistry()
        self.journal = journal
        self.answer: Callable[[bytes, str], None] = lambda body, token: None
        self.delivery = Delivery(
            journal, "store", lambda body, token: self.answer(body, token), Pace(10, 1000), is_reserving=True
        )
        self.delivery.timed = DeliveryTimes(self.registry).of("store")
        self.health: Callable[[], Health] = lambda: HEALTHY
        self.sizes: Callable[[], list[TableSize]] = lambda: [TableSize("spans", 7, 700, 2)]
        self.readings = Readings(
            Parts(
                intakes={"http": Intake(commit, Admission(1000), "drop")},
                admission=Admission(1000),
                journal=journal,
                journal_max_bytes=1000,
                deliveries=[self.delivery],
                poller=None,
                health=lambda: self.health(),
                sizes=lambda: self.sizes(),
            ),
            store_within_s=30,
        )
        self.registry.register(self.readings)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    journal = SqliteJournal(tmp_path / "journal.sqlite", max_bytes=1000, required=["store"], optional=[])
    commit = GroupCommit(journal)
    made = Scene(journal, commit)
    yield made
    commit.close()
    journal.close()


def test_what_waits_for_a_reader_is_told_with_the_time_of_the_oldest(scene: Scene) -> None:
    scene.journal.append([b"one", b"two!"])
    assert scene.value("flowtrail_reader_waiting_requests", reader="store") == 2
    assert scene.value("flowtrail_reader_waiting_bytes", reader="store") == 7
    oldest_ms = scene.journal.depth("store").oldest_ms
    assert oldest_ms is not None
    assert scene.value("flowtrail_reader_oldest_timestamp_seconds", reader="store") == oldest_ms / 1000
    scene.delivery.step()
    assert scene.value("flowtrail_reader_waiting_requests", reader="store") == 0
    assert scene.value("flowtrail_reader_oldest_timestamp_seconds", reader="store") is None


@contextmanager
def raising(scene: Scene, error: Exception) -> Iterator[None]:
    def answer(body: bytes, token: str) -> None:
        raise error

    before, scene.answer = scene.answer, answer
    yield
    scene.answer = before


def test_each_attempt_is_measured_with_its_outcome(scene: Scene) -> None:
    scene.journal.append([b"one"])
    with raising(scene, Unavailable("away")), pytest.raises(Unavailable):
        scene.delivery.step()
    with raising(scene, Refused("bad")):
        scene.delivery.step()
    scene.journal.append([b"two"])
    scene.delivery.step()
    counts = {
        outcome: scene.value("flowtrail_reader_delivery_seconds_count", reader="store", outcome=outcome)
        for outcome in ("failed", "refused", "taken")
    }
    assert counts == {"failed": 1, "refused": 1, "taken": 1}
    assert scene.value("flowtrail_reader_set_aside_requests", reader="store") == 1


def test_tables_of_the_store_are_told_by_name(scene: Scene) -> None:
    assert scene.value("flowtrail_store_rows", table="spans") == 7
    assert scene.value("flowtrail_store_bytes", table="spans") == 700
    assert scene.value("flowtrail_store_parts", table="spans") == 2
    assert scene.value("flowtrail_store_rejected_spans") == 3


def test_a_store_that_cannot_be_read_has_no_samples_rather_than_zeros(scene: Scene) -> None:
    def away() -> list[TableSize]:
        raise StoreError("away")

    scene.sizes = away
    scene.health = lambda: HEALTHY.model_copy(update={"ready": False, "rejected_spans": 0})
    assert scene.value("flowtrail_ready") == 0
    assert scene.value("flowtrail_store_rejected_spans") is None
    assert scene.value("flowtrail_journal_requests") == 0


def test_a_store_that_hangs_holds_up_nothing_else_and_one_thread(scene: Scene) -> None:
    goes_on, asked = threading.Event(), []

    def hang() -> Health:
        asked.append(threading.current_thread())
        goes_on.wait(60)
        return HEALTHY

    scene.health = hang
    scene.readings._store_within_s = 0.01
    try:
        for _ in range(3):
            assert scene.value("flowtrail_ready") == 0
            assert scene.value("flowtrail_journal_max_bytes") == 1000
        assert len(asked) == 1
    finally:
        goes_on.set()
    asked[0].join(60)
    scene.readings._store_within_s = 30
    assert scene.value("flowtrail_ready") == 1


def test_a_journal_that_cannot_be_read_has_no_samples_and_the_rest_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(reader: str | None = None) -> None:
        raise JournalError("the disk")

    monkeypatch.setattr(scene.journal, "depth", broken)
    assert scene.value("flowtrail_journal_requests") is None
    assert scene.value("flowtrail_intake_requests_total", wire="http") == 0


def test_metrics_are_for_those_who_have_a_token(tmp_path: Path, store_dsn: str) -> None:
    file = tmp_path / "tokens"
    file.write_text("prometheus " + "t" * 40)
    file.chmod(0o600)
    with running_here(tmp_path / "data", store_dsn, api_tokens_file=str(file)) as (api, _):
        assert requests.get(api + "/metrics", timeout=10).status_code == 401
        token = {"Authorization": "Bearer " + "t" * 40}
        answer = requests.get(api + "/metrics", headers=token, timeout=10)
    assert answer.status_code == 200
    assert samples(answer.text)["flowtrail_api_requests_total", ("other", "401")] == 1

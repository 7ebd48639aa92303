"""What the UI's own server answers, without a browser."""

import gzip
import json
import time
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from flowtrail.client import Client, CollectorError, NotFound
from flowtrail.ui.address import Address
from flowtrail.ui.app import make_app
from flowtrail.ui.source import Source

from .fake_collector import FakeCollector


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with FakeCollector() as collector:
        yield collector


@pytest.fixture
def browser(collector: FakeCollector) -> FlaskClient:
    client: FlaskClient = make_app(collector.url).server.test_client()
    return client


def test_a_page_may_load_and_ask_nothing_but_its_own_server(browser: FlaskClient) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in browser.get("/map").headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in policy["script-src"]
    assert "http" not in policy["script-src"]


def test_a_page_names_no_other_server(browser: FlaskClient) -> None:
    page = browser.get("/").get_data(as_text=True)
    assert '<html lang="en">' in page
    assert "https://" not in page
    assert "http://" not in page


def test_large_answers_are_compressed_for_who_takes_that(browser: FlaskClient) -> None:
    plain = browser.get("/_map")
    small = browser.get("/_map", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(small.data)).keys() == json.loads(plain.data).keys()
    assert len(small.data) < len(plain.data) / 3


def test_a_script_is_compressed_too(browser: FlaskClient) -> None:
    with browser.get("/assets/map.js") as plain:
        whole = plain.data
    for _ in range(2):  # the second time it is kept
        with browser.get("/assets/map.js", headers={"Accept-Encoding": "gzip"}) as script:
            assert gzip.decompress(script.data) == whole


def test_a_scene_that_did_not_change_is_not_sent_again(browser: FlaskClient, collector: FakeCollector) -> None:
    collector.is_empty = True  # an empty graph has no figures that move
    first = browser.get("/_map")
    again = browser.get("/_map", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")


def test_nodes_stay_where_they_are_when_one_more_comes(browser: FlaskClient, collector: FakeCollector) -> None:
    def places() -> dict[str, tuple[float, float]]:
        return {node["id"]: (node["x"], node["y"]) for node in browser.get("/_map?depth=1").get_json()["nodes"]}

    before = places()
    collector.extra_node = True
    _wait_until_fresh(browser, "service:loyalty")
    after = places()
    moved = [node for node, place in before.items() if after[node] != place]
    assert "service:loyalty" in after
    assert len(moved) <= 2


def test_an_unknown_focus_is_said_and_not_drawn(browser: FlaskClient) -> None:
    assert browser.get("/_map?focus=service:nobody").status_code == 503


def test_the_last_answer_stands_in_while_the_collector_is_away(collector: FakeCollector) -> None:
    now_ms = [1_000_000.0]
    source = Source(collector.url, clock_ms=lambda: now_ms[0])
    first = source.lag()
    collector.is_away = True
    now_ms[0] += 60_000
    assert source.lag() == first
    assert source.away is not None
    assert (source.away.since_ms, source.away.last_good_ms) == (1_060_000, 1_000_000)
    collector.is_away = False
    now_ms[0] += 60_000
    source.lag()
    assert source.away is None


def test_without_any_answer_the_collector_is_said_to_be_away(collector: FakeCollector) -> None:
    collector.is_away = True
    with pytest.raises(CollectorError, match="store cannot be reached"):
        Source(collector.url).health()


def test_what_does_not_exist_is_not_taken_for_a_collector_that_is_away(collector: FakeCollector) -> None:
    source = Source(collector.url)
    with pytest.raises(NotFound):
        source.flow("nope")
    assert source.away is None


def test_after_an_error_that_nobody_foresaw_the_collector_is_asked_again(
    collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(collector.url)
    with monkeypatch.context() as broken:
        broken.setattr(Client, "health", lambda client: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            source.health()
    assert source.health().ready


def test_an_answer_that_makes_no_sense_is_a_collector_that_is_away_until_it_does(collector: FakeCollector) -> None:
    source = Source(collector.url)
    collector.is_garbled = True
    with pytest.raises(CollectorError, match="not as a collector of this version"):
        source.health()
    assert source.away is not None
    collector.is_garbled = False
    source.health()
    assert source.away is None


def test_one_answer_serves_several_parts_of_a_page(collector: FakeCollector) -> None:
    source = Source(collector.url, clock_ms=lambda: 1_000_000.0)
    window = Address.parse("/map", "").window(1_000_000.0)
    assert source.graph(window) is source.graph(window)
    assert collector.seen["/v1/graph"] == 1


def _wait_until_fresh(browser: FlaskClient, node_id: str) -> None:
    deadline = time.monotonic() + 15
    while node_id not in browser.get("/_map?depth=1").get_data(as_text=True):
        assert time.monotonic() < deadline, f"{node_id} did not appear"
        time.sleep(0.05)

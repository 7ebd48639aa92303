"""Each command asks the API, prints what a person wants to know, and ends with a status that a script can use."""

import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from flowtrail.cli.app import run
from flowtrail.collector.api.answers import (
    Edge,
    Event,
    FlowList,
    FlowSummary,
    Graph,
    GroupLag,
    LagList,
    Node,
    PartitionLag,
    Problem,
    Series,
    State,
    Tone,
)
from flowtrail.collector.api.routes import PATHS

from .canned_api import CannedApi
from .stories import BEGAN_MS, FLOW_ID, PLACED, complete, dead_lettered

BROKEN = dead_lettered()
HEALTHY = complete()


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with CannedApi() as api:
        yield api


@pytest.fixture
def flowtrail(api: CannedApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Terminal":
    monkeypatch.setenv("FLOWTRAIL_URL", api.url)
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal(capsys)


class Terminal:
    """Runs a command line and returns how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ended:
        status = run(list(arguments))
        printed = self._capsys.readouterr()
        return Ended(status, printed.out, printed.err)


def summary(flow_id: str, state: State, tone: Tone) -> FlowSummary:
    return FlowSummary(
        id=flow_id,
        title="ORD-1204 in orders",
        began_ms=BEGAN_MS,
        duration_ms=34_400,
        first_service="storefront",
        services=["storefront", "payments"],
        events=4,
        spans=9,
        state=state,
        tone=tone,
        sentence="card-gateway timed out",
    )


def flow_list(*flows: FlowSummary, truncated: bool = False) -> FlowList:
    return FlowList(flows=list(flows), examined=50, truncated=truncated, from_ms=BEGAN_MS, to_ms=BEGAN_MS + 60_000)


GROUP = GroupLag(
    group="payments-workers",
    cluster_id=None,
    state="no_member",
    tone=Tone.STUCK,
    reason="nobody is in the group since 22:54",
    members=0,
    topics=["orders"],
    lag=41_208,
    no_commit=1,
    partitions=[
        PartitionLag(topic="orders", partition=0, committed=100_000, log_start=0, log_end=141_208, lag=41_208, lost=0),
        PartitionLag(topic="orders", partition=1, committed=None, log_start=0, log_end=5, lag=None, lost=None),
    ],
    trend=Series(name="lag", unit="events", points=[]),
)


def test_why_tells_the_story_of_a_trace_and_a_broken_flow_is_status_1(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer(f"/v1/flows/{FLOW_ID}", BROKEN)
    ended = flowtrail("why", FLOW_ID.upper())
    assert ended.status == 1
    assert "payments-workers could not charge order ORD-1204" in ended.out
    assert ended.err == ""


def test_why_of_a_healthy_flow_is_status_0(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer(f"/v1/flows/{FLOW_ID}", HEALTHY)
    assert flowtrail("why", FLOW_ID).status == 0


def test_why_finds_the_flow_of_an_event_by_its_coordinates(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/events/orders/2/204", Event(coordinates=PLACED, flow=FLOW_ID))
    api.answer(f"/v1/flows/{FLOW_ID}", BROKEN)
    assert flowtrail("why", "orders/2/204").status == 1


def test_why_of_an_event_without_a_flow_says_so(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/events/orders/2/204", Event(coordinates=PLACED))
    ended = flowtrail("why", "orders/2/204")
    assert ended.status == 4
    assert ended.err == "flowtrail: orders/2/204 was seen, but no span says which flow it belongs to\n"


def test_why_of_a_key_tells_the_latest_broken_flow_and_names_the_others(api: CannedApi, flowtrail: Terminal) -> None:
    newer = summary("ab" * 16, State.COMPLETE, Tone.OK)
    api.answer("/v1/flows", flow_list(newer, summary(FLOW_ID, State.DEAD_LETTERED, Tone.FAIL)))
    api.answer(f"/v1/flows/{FLOW_ID}", BROKEN)
    ended = flowtrail("why", "key=ORD-1204")
    assert ended.status == 1
    assert "1 more flow matches:" in ended.out
    assert newer.id in ended.out
    assert api.asked[0] == ("/v1/flows", {"q": "ORD-1204"})


def test_why_of_a_key_prefers_the_flow_that_began_with_it_to_one_that_touched_it_later(
    api: CannedApi, flowtrail: Terminal
) -> None:
    lorry = summary("ab" * 16, State.COMPLETE, Tone.OK).model_copy(update={"key": "lorry-1"})
    order = summary(FLOW_ID, State.COMPLETE, Tone.OK).model_copy(update={"key": "ORD-1204"})
    api.answer("/v1/flows", flow_list(lorry, order))
    api.answer(f"/v1/flows/{FLOW_ID}", BROKEN)
    flowtrail("why", "key=ORD-1204")
    assert api.asked[-1][0] == f"/v1/flows/{FLOW_ID}"


def test_an_empty_key_is_bad_use(flowtrail: Terminal) -> None:
    ended = flowtrail("why", "key=")
    assert ended.status == 2
    assert "key=ORD-1204" in ended.err


def test_why_of_an_attribute_is_asked_as_it_was_typed(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/flows", flow_list())
    ended = flowtrail("why", "customer.id=7")
    assert ended.status == 4
    assert "no flow with customer.id=7" in ended.err
    assert api.asked == [("/v1/flows", {"q": "customer.id=7"})]


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (("why", FLOW_ID), f"/v1/flows/{FLOW_ID}/why", BROKEN.verdict),
        (("flows",), "/v1/flows", flow_list()),
        (("graph",), "/v1/graph", Graph(version="1", from_ms=0, to_ms=1, nodes=[], edges=[])),
        (("lag",), "/v1/lag", LagList(groups=[GROUP], polled_at_ms=None)),
        (("lag", "payments-workers"), "/v1/lag/payments-workers", GROUP),
    ],
)
def test_json_is_exactly_what_the_api_answered(
    api: CannedApi, flowtrail: Terminal, arguments: tuple[str, ...], path: str, body: object
) -> None:
    # A newer collector may say more than this program knows.
    answered = body.model_dump_json(indent=3).encode().replace(b"{", b'{ "newer": [1.50, "\\u00e9"],', 1)  # type: ignore[attr-defined]
    api.answer(path, answered)
    assert flowtrail(*arguments, "--json").out == answered.decode() + "\n"


def test_json_of_a_broken_flow_is_status_1_too(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer(f"/v1/flows/{FLOW_ID}/why", BROKEN.verdict)
    assert flowtrail("why", FLOW_ID, "--json").status == 1


def test_flows_are_listed_with_what_went_wrong(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/flows", flow_list(summary(FLOW_ID, State.DEAD_LETTERED, Tone.FAIL), truncated=True))
    ended = flowtrail("flows", "ORD-1204", "--topic", "orders", "--state", "dead_lettered", "--limit", "5")
    assert ended.status == 0
    for said in ("✕ dead-lettered", FLOW_ID, "storefront → payments", "card-gateway timed out", "More may match"):
        assert said in ended.out
    assert api.asked == [
        ("/v1/flows", {"q": "ORD-1204", "topic": "orders", "state": "dead_lettered", "limit": "5"}),
    ]


@pytest.mark.parametrize("state", ["no_member", "stuck", "fail"])
def test_flows_are_asked_for_by_state_or_by_tone(api: CannedApi, flowtrail: Terminal, state: str) -> None:
    api.answer("/v1/flows", flow_list())
    assert flowtrail("flows", "--state", state).status == 0
    assert api.asked[0][1]["state"] == state


@pytest.mark.parametrize(("limit", "said"), [("1", "1 shown; more may match: raise --limit"), ("5", "the 50 flows")])
def test_a_list_that_was_cut_says_what_to_do(api: CannedApi, flowtrail: Terminal, limit: str, said: str) -> None:
    api.answer("/v1/flows", flow_list(summary(FLOW_ID, State.COMPLETE, Tone.OK), truncated=True))
    assert said in flowtrail("flows", "--limit", limit).out


@pytest.mark.parametrize("what", ["orders/0", "orders/", "orders/0/-1", "orders/0/"])
def test_half_an_events_coordinates_are_bad_use_and_no_key(api: CannedApi, flowtrail: Terminal, what: str) -> None:
    ended = flowtrail("why", what)
    assert ended.status == 2
    assert "coordinates are topic/partition/offset" in ended.err
    assert api.asked == []


def test_no_flow_is_a_sentence_with_a_way_on(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/flows", flow_list())
    ended = flowtrail("flows")
    assert ended.status == 0
    assert "No flow matches" in ended.out


def test_last_is_a_time_that_the_api_is_asked_for(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/flows", flow_list())
    flowtrail("flows", "--last", "15m")
    flowtrail("flows", "--last", "1h")
    recent, longer = (float(query["from"]) for _, query in api.asked)
    assert 44 * 60e3 < recent - longer < 46 * 60e3


def test_the_graph_names_what_is_broken_then_every_edge(api: CannedApi, flowtrail: Terminal) -> None:
    nodes = [
        Node(id="service:orders", kind="service", name="orders", state="ok", tone=Tone.OK),
        Node(id="topic:stock", kind="topic", name="stock", state="ok", tone=Tone.OK),
        Node(
            id="group:shipping",
            kind="group",
            name="shipping",
            state="stuck",
            tone=Tone.STUCK,
            reason="no member",
            lag=7,
        ),
    ]
    edges = [
        Edge(source="service:orders", target="topic:stock", kind="send", messages=120, rate_per_s=2, p95_ms=12),
        Edge(source="topic:stock", target="group:shipping", kind="process", messages=100, errors=5),
    ]
    api.answer(
        "/v1/graph",
        Graph(version="1", from_ms=BEGAN_MS, to_ms=BEGAN_MS, nodes=nodes, edges=edges, broken=["group:shipping"]),
    )
    ended = flowtrail("graph", "--focus", "topic:stock", "--depth", "1")
    assert ended.out.startswith("■ stuck group:shipping: no member\n")
    assert [line.split() for line in ended.out.splitlines()[3:5]] == [
        ["service:orders", "topic:stock", "120", "2/s", "0", "%", "12", "ms"],
        ["topic:stock", "■", "group:shipping", "lag", "7", "100", "–", "5.0", "%", "–"],
    ]
    assert api.asked == [("/v1/graph", {"focus": "topic:stock", "depth": "1"})]


def test_the_graph_says_once_what_several_suffer_from_and_each_topics_part_of_a_lag(
    api: CannedApi, flowtrail: Terminal
) -> None:
    told: dict[str, Any] = {"kind": "group", "state": "stuck", "tone": Tone.STUCK, "reason": "no member", "lag": 41_208}
    nodes = [
        Node(id="topic:orders", kind="topic", name="orders", state="ok", tone=Tone.OK),
        Node(id="topic:stock", kind="topic", name="stock", state="ok", tone=Tone.OK),
        Node(id="group:payments-workers", name="payments-workers", **told),
        Node(id="group:others", name="others", **told),
    ]
    edges = [
        Edge(source=f"topic:{topic}", target="group:payments-workers", kind="process", messages=5)
        for topic in ("orders", "stock")
    ]
    broken = ["group:payments-workers", "group:others"]
    api.answer("/v1/graph", Graph(version="1", from_ms=0, to_ms=1, nodes=nodes, edges=edges, broken=broken))
    api.answer("/v1/lag", LagList(groups=[GROUP], polled_at_ms=BEGAN_MS))
    ended = flowtrail("graph")
    assert ended.out.count("no member") == 1
    assert ended.out.startswith("■ stuck group:payments-workers, group:others: no member\n")
    assert [line.rstrip().partition("payments-workers")[2][:11] for line in ended.out.splitlines()[3:5]] == [
        " lag 41 208",
        "           ",
    ]


def test_an_empty_graph_says_what_to_do(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/graph", Graph(version="1", from_ms=0, to_ms=1, nodes=[], edges=[]))
    assert "instrument a service" in flowtrail("graph").out


def test_lag_lists_groups_with_the_reason(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/lag", LagList(groups=[GROUP], polled_at_ms=BEGAN_MS, note="this broker lists no members"))
    ended = flowtrail("lag")
    for said in (
        "■ no member",
        "payments-workers on orders",
        "lag 41 208",
        "nobody is in the group",
        "lists no members",
    ):
        assert said in ended.out


def test_a_group_without_lag_is_not_said_to_drain_and_one_partition_is_no_plural(
    api: CannedApi, flowtrail: Terminal
) -> None:
    api.answer("/v1/lag/payments-workers", GROUP.model_copy(update={"lag": 0, "time_to_drain_ms": 0.0}))
    ended = flowtrail("lag", "payments-workers")
    assert "drained" not in ended.out
    assert "1 partition has no commit: its lag is not known." in ended.out


def test_what_goes_to_a_file_is_not_cut_to_a_terminal_and_has_no_trailing_blanks(
    api: CannedApi, flowtrail: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    sentence = "words " * 20 + "end"
    api.answer("/v1/lag", LagList(groups=[GROUP.model_copy(update={"reason": sentence})], polled_at_ms=BEGAN_MS))
    api.answer("/v1/lag/payments-workers", GROUP)
    assert sentence in flowtrail("lag").out
    assert not re.search(" $", flowtrail("lag", "payments-workers").out, re.MULTILINE)


def test_lag_of_a_group_gives_positions_that_can_be_copied(api: CannedApi, flowtrail: Terminal) -> None:
    api.answer("/v1/lag/payments-workers", GROUP)
    rows = [line.split() for line in flowtrail("lag", "payments-workers").out.splitlines()]
    assert ["orders/0", "100000", "141208", "41", "208", "0", "–"] in rows
    assert ["orders/1", "–", "5", "–", "–", "–"] in rows


@pytest.mark.parametrize("arguments", [("why", FLOW_ID), ("lag", "nobody"), ("why", "orders/0/9")])
def test_what_the_collector_does_not_know_is_status_4(flowtrail: Terminal, arguments: tuple[str, ...]) -> None:
    ended = flowtrail(*arguments)
    assert ended.status == 4
    assert ended.err == "flowtrail: No such thing: it may not have arrived yet\n"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"nodes": 7}', b"\xff"])
def test_an_answer_that_is_not_the_collectors_is_one_sentence_and_status_3(
    api: CannedApi, flowtrail: Terminal, body: bytes
) -> None:
    api.answer("/v1/graph", body)
    ended = flowtrail("graph")
    assert ended.status == 3
    assert "answered, but not as a collector of this version does" in ended.err
    assert ended.err.count("\n") == 1


def test_flows_takes_as_many_as_the_api_gives(api: CannedApi, flowtrail: Terminal) -> None:
    limit = next(one for path in PATHS if path.path == "/v1/flows" for one in path.parameters if one.name == "limit")
    assert limit.minimum is not None
    assert limit.maximum is not None
    api.answer("/v1/flows", flow_list())
    for number, status in ((limit.minimum - 1, 2), (limit.minimum, 0), (limit.maximum, 0), (limit.maximum + 1, 2)):
        assert flowtrail("flows", "--limit", str(number)).status == status


@pytest.mark.parametrize(("http_status", "status"), [(400, 2), (500, 3), (503, 3)])
def test_a_refusal_is_told_with_its_reason(api: CannedApi, flowtrail: Terminal, http_status: int, status: int) -> None:
    api.answer("/v1/graph", Problem(status=http_status, title="Not so", detail="because"), http_status)
    ended = flowtrail("graph")
    assert ended.status == status
    assert ended.err == "flowtrail: Not so: because\n"


def test_a_collector_that_is_not_there_is_status_3(flowtrail: Terminal) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ended = flowtrail("lag", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert ended.status == 3
    assert "start one with `flowtrail collect`" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("why",),
        ("graph", "--frob"),
        ("flows", "--last", "yesterday"),
        ("flows", "--last", "0m"),
        ("flows", ""),
        ("flows", "x" * 1001),
        ("flows", "--topic", ""),
        ("why", "x" * 1001),
        ("flows", "--state", "sad"),
        ("flows", "--limit", "0"),
        ("graph", "--url", "localhost"),
        ("ui", "--port", "70000"),
        ("demo", "--for", "soon"),
        ("demo", "--fault", "no-such-fault"),
        ("demo", "--report", "r.json"),
        ("demo", "--bootstrap-servers", "localhost"),
        ("collect", "--api-port", "70000"),
        ("collect", "--store-dsn", "mysql://x"),
        ("collect", "--kafka-properties", "no equals sign"),
    ],
)
def test_bad_use_is_one_sentence_and_status_2(flowtrail: Terminal, arguments: tuple[str, ...]) -> None:
    ended = flowtrail(*arguments)
    assert ended.status == 2
    assert ended.err.startswith("flowtrail: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command(flowtrail: Terminal, arguments: tuple[str, ...]) -> None:
    ended = flowtrail(*arguments)
    assert ended.status == 0
    for command in ("demo", "collect", "ui", "why", "flows", "graph", "lag"):
        assert f" {command} " in ended.out


def test_the_version_is_the_packages(flowtrail: Terminal) -> None:
    from importlib.metadata import version

    assert flowtrail("--version").out == f"flowtrail {version('flowtrail')}\n"

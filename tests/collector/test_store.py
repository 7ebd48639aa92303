"""What an OTLP request says, the store's tables say too."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flowtrail.collector.store import connection
from flowtrail.collector.store.connection import (
    ONE_ROW_PER_SPAN,
    BadRequestBytes,
    Store,
    StoreError,
    TookTooLong,
    open_store,
)
from flowtrail.collector.store.queries import Queries

from .otlp_bodies import START_NS, body, link, poll, process, record_link, send, span

SENDER = (b"T" * 16, b"S" * 8)


def test_every_column_of_a_span_survives_the_way_in(store: Store) -> None:
    told = span(
        {"text": "blå", "number": -5, "ratio": 0.5, "yes": True, "no": False, "empty": "", "nothing": 0},
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        kind=5,
        links=[link(*SENDER, {"why": "cause"})],
    )
    told.parent_span_id = b"p" * 8
    told.trace_state = "a=b"
    told.flags = 0x301
    told.status.CopyFrom(Status(code=Status.StatusCode.STATUS_CODE_ERROR, message="broke"))
    told.events.append(
        Span.Event(
            time_unix_nano=START_NS + 1,
            name="exception",
            attributes=[KeyValue(key="type", value=AnyValue(string_value="ValueError"))],
        )
    )
    store.load(body(told, service="payments"), "once")
    [row] = store.query(
        "SELECT trace_id, span_id, parent_span_id, trace_state, flags, name, kind, toUnixTimestamp64Nano(start),"
        " duration_ns, service, instance, status_code, status_message, attributes, links, events"
        f" FROM {store.database}.spans"
    )
    texts = {"text": "blå", "number": "-5", "ratio": "0.5", "yes": "true", "no": "false", "empty": "", "nothing": "0"}
    assert row == (
        *(b"t" * 16, b"s" * 8, b"p" * 8, "a=b", 0x301, "work", 5, START_NS, 1_000_000),
        *("payments", "one", 2, "broke", texts),
        [{"trace_id": SENDER[0], "span_id": SENDER[1], "attributes": {"why": "cause"}}],
        [{"time_ns": START_NS + 1, "name": "exception", "attributes": {"type": "ValueError"}}],
    )


def test_messaging_attributes_are_columns(store: Store) -> None:
    told = process(
        "orders",
        3,
        0,
        "workers",
        **{
            "messaging.kafka.message.key": "order-1",
            "messaging.client.id": "c1",
            "messaging.kafka.cluster.id": "k1",
        },
    )
    store.load(body(span(told, kind=5)), "once")
    assert store.query(
        "SELECT system, operation, topic, group_name, partition, offset, key, client_id, cluster_id"
        f" FROM {store.database}.spans"
    ) == [("kafka", "process", "orders", "workers", 3, 0, "order-1", "c1", "k1")]


@pytest.mark.parametrize(
    ("told", "operation", "partition", "offset", "group"),
    [
        pytest.param(
            {
                "messaging.operation": "publish",
                "messaging.kafka.destination.partition": 2,
                "messaging.kafka.message.offset": 7,
            },
            *("send", 2, 7, ""),
            id="java agent 1",
        ),
        pytest.param(
            {
                "messaging.operation": "process",
                "messaging.kafka.consumer.group": "workers",
                "messaging.destination.partition.id": "1",
                "messaging.kafka.offset": "8",
            },
            *("process", 1, 8, "workers"),
            id="offset as text",
        ),
        pytest.param(
            {
                "messaging.operation": "publish",
                "messaging.destination.partition.id": "-1",
                "messaging.kafka.message.offset": -1,
            },
            *("send", -1, -1, ""),
            id="a failed send",
        ),
        pytest.param({"messaging.kafka.offset": "soon"}, "receive", -1, -1, "", id="kind alone, and nonsense"),
    ],
)
def test_names_of_older_conventions_are_read(
    store: Store, told: dict[str, str | int], operation: str, partition: int, offset: int, group: str
) -> None:
    store.load(body(span({"messaging.system": "kafka", "messaging.destination": "orders", **told}, kind=5)), "once")
    assert store.query(f"SELECT operation, partition, offset, group_name, topic FROM {store.database}.events") == [
        (operation, partition, offset, group, "orders")
    ]


def test_a_span_with_an_offset_speaks_of_that_one_event(store: Store) -> None:
    told = span(process("orders", 0, 5, "workers"), links=[link(*SENDER), record_link(*SENDER, "other", 0, 9)])
    store.load(body(told), "once")
    assert events(store) == [("orders", 0, 5, "process", "workers")]


def test_a_poll_speaks_of_each_event_that_its_links_name(store: Store) -> None:
    told = span(poll("orders", "workers"), links=[record_link(*SENDER, "orders", 0, n) for n in range(3)])
    store.load(body(told), "once")
    assert events(store) == [("orders", 0, n, "receive", "workers") for n in range(3)]
    assert store.query(f"SELECT DISTINCT linked_trace_id, linked_span_id FROM {store.database}.events") == [SENDER]


def test_an_event_is_linked_to_its_own_context_among_several(store: Store) -> None:
    told = span(
        process("orders", 0, 5, "workers"), links=[link(b"O" * 16, b"O" * 8), record_link(*SENDER, "orders", 0, 5)]
    )
    store.load(body(told), "once")
    assert store.query(f"SELECT linked_trace_id, linked_span_id FROM {store.database}.events") == [SENDER]


def test_a_send_that_was_never_acknowledged_is_an_event_without_offset(store: Store) -> None:
    told = {"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": "orders"}
    store.load(body(span(told, kind=4, is_error=True)), "once")
    assert events(store) == [("orders", -1, -1, "send", "")]


def test_commits_and_spans_of_other_systems_are_no_events(store: Store) -> None:
    commit = {**poll("orders", "workers"), "messaging.operation.type": "settle"}
    rabbit = {**send("orders", 0, 1), "messaging.system": "rabbitmq"}
    store.load(body(span(commit), span(rabbit), span({"http.route": "/"})), "once")
    assert events(store) == []


def test_a_link_is_found_from_both_ends(store: Store) -> None:
    told = span(links=[link(*SENDER)], trace_id=b"t" * 16, span_id=b"s" * 8)
    store.load(body(told), "once")
    rows = store.query(
        "SELECT trace_id, span_id, direction, other_trace_id, other_span_id"
        f" FROM {store.database}.links ORDER BY direction"
    )
    assert rows == [(b"t" * 16, b"s" * 8, "to", *SENDER), (*SENDER, "from", b"t" * 16, b"s" * 8)]


def test_edges_count_events_errors_and_durations(store: Store) -> None:
    spans = [span(send("orders", 0, n), duration_ns=1023, is_error=n == 0) for n in range(5)]
    store.load(body(*spans), "once")
    assert edges(store) == [("orders", "send", "orders", "", 5, 1, {40: 5})]


def test_a_processing_that_was_not_seen_to_end_is_counted_without_a_duration(store: Store) -> None:
    ended = span(process("orders", 0, 0, "workers"), duration_ns=1023)
    left = span({**process("orders", 0, 1, "workers"), "flowtrail.process.unfinished": True}, duration_ns=10**13)
    store.load(body(ended, left), "once")
    assert edges(store) == [("orders", "process", "orders", "workers", 2, 0, {40: 1})]


def test_a_service_of_which_no_processing_was_seen_to_end_has_no_durations(store: Store) -> None:
    left = span({**process("orders", 0, 1, "workers"), "flowtrail.process.unfinished": True}, duration_ns=10**13)
    store.load(body(left), "once")
    assert edges(store) == [("orders", "process", "orders", "workers", 1, 0, {})]
    start_ms = START_NS / 1e6
    [group] = Queries(store).groups(start_ms - 60_000, start_ms)
    assert group.longest_ms == 0.0


def test_a_token_is_loaded_once_in_every_table(store: Store) -> None:
    told = body(*[span(send("orders", 0, n)) for n in range(5)])
    store.load(told, "first")
    store.load(told, "first")
    store.load(body(span(send("orders", 0, 5))), "second")
    assert edges(store) == [("orders", "send", "orders", "", 6, 0, {79: 6})]
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(6,)]


def test_a_load_that_failed_half_way_is_completed_by_the_next(store: Store) -> None:
    told = body(*[span(send("orders", 0, n)) for n in range(5)])
    [(ddl,)] = store.query(
        "SELECT create_table_query FROM system.tables WHERE database = {database:String} AND name = 'edges_view'",
        {"database": store.database},
    )
    store.command(f"DROP VIEW {store.database}.edges_view")
    store.command(ddl.replace("count() AS messages", "count() + throwIf(count() > 0) AS messages"))
    with pytest.raises(StoreError):
        store.load(told, "first")
    store.command(f"DROP VIEW {store.database}.edges_view")
    store.command(ddl)
    store.load(told, "first")
    store.load(told, "first")
    assert edges(store) == [("orders", "send", "orders", "", 5, 0, {79: 5})]
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(5,)]


def test_one_span_in_two_requests_is_one_span(store: Store) -> None:
    told = span(send("orders", 0, 1))
    store.load(body(told, span()), "first")
    store.load(body(told), "second")
    seen = f"SELECT trace_id FROM {store.database}.spans {ONE_ROW_PER_SPAN}"
    assert len(store.query(seen)) == 2
    store.command(f"OPTIMIZE TABLE {store.database}.spans FINAL")
    assert len(store.query(seen)) == 2


def test_one_span_in_two_different_requests_counts_twice_in_edges(store: Store) -> None:
    """The known limit: edges are sums, and remember no span."""
    told = span(send("orders", 0, 1))
    store.load(body(told, span()), "first")
    store.load(body(told), "second")
    assert edges(store) == [("orders", "send", "orders", "", 2, 0, {79: 2})]
    assert store.query(f"SELECT count() FROM {store.database}.events FINAL") == [(1,)]


@pytest.mark.parametrize("trace_id", [b"", b"t" * 8, b"t" * 17])
def test_a_span_with_an_id_of_the_wrong_length_is_left_out_and_counted(store: Store, trace_id: bytes) -> None:
    store.load(body(span(), span(trace_id=trace_id), span(span_id=b"s" * 9)), "once")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(1,)]
    assert store.query(f"SELECT reason, spans FROM {store.database}.rejected") == [("ids", 2)]


@pytest.mark.parametrize("start_ns", [0, 1, 2**64 - 10_000_000, 2**63])
def test_a_span_of_an_absurd_time_is_left_out_and_counted(store: Store, start_ns: int) -> None:
    store.load(body(span(), span(start_ns=start_ns)), "once")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(1,)]
    assert store.query(f"SELECT reason, spans FROM {store.database}.rejected") == [("time", 1)]


@pytest.mark.parametrize("end_ns", [0, START_NS - 1, 2**64 - 1, 2**63])
def test_a_span_that_ends_at_an_absurd_time_has_no_duration(store: Store, end_ns: int) -> None:
    told = span(send("orders", 0, 1))
    told.end_time_unix_nano = end_ns
    store.load(body(told), "once")
    assert store.query(f"SELECT duration_ns FROM {store.database}.spans") == [(0,)]
    assert edges(store) == [("orders", "send", "orders", "", 1, 0, {0: 1})]


def test_spans_of_many_days_are_taken_in_one_load(store: Store) -> None:
    day_ns = 86_400 * 10**9
    store.load(body(*[span(start_ns=START_NS - n * day_ns) for n in range(150)]), "once")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(150,)]


def test_links_with_ids_of_the_wrong_length_are_dropped_from_their_span(store: Store) -> None:
    store.load(body(span(links=[link(b"short", b"x"), link(*SENDER)])), "once")
    assert store.query(f"SELECT links.trace_id FROM {store.database}.spans") == [([SENDER[0]],)]


def as_list(*items: AnyValue) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=items))


def as_map(**items: AnyValue) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=item) for key, item in items.items()]))


ONE, TWO, WORD = AnyValue(int_value=1), AnyValue(int_value=2), AnyValue(string_value="blå")


def test_a_list_among_a_spans_attributes_is_its_items_text(store: Store) -> None:
    told = span({"text": "a, b"})
    for name, items in (
        ("topics", [AnyValue(string_value="jobs"), AnyValue(string_value="blå")]),
        ("mixed", [AnyValue(int_value=0), AnyValue(bool_value=False), AnyValue(double_value=0.5), AnyValue()]),
        ("empty", []),
    ):
        told.attributes.append(KeyValue(key=name, value=AnyValue(array_value=ArrayValue(values=items))))
    store.load(body(told), "once")
    assert store.query(f"SELECT attributes FROM {store.database}.spans") == [
        ({"text": "a, b", "topics": "jobs, blå", "mixed": "0, false, 0.5, ", "empty": ""},)
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (as_list(ONE, WORD), "1, blå"),
        (as_list(), ""),
        (as_list(as_list(ONE, TWO), as_list(), WORD), "[1, 2], [], blå"),
        (as_list(as_list(as_list(WORD, ONE))), "[[blå, 1]]"),
        (as_list(as_map(n=ONE, word=WORD)), "{n: 1, word: blå}"),
        (as_map(n=ONE, on=AnyValue(bool_value=False)), "{n: 1, on: false}"),
        (as_map(), "{}"),
        (as_map(codes=as_list(ONE, TWO), of=as_map(n=AnyValue(double_value=1.0))), "{codes: [1, 2], of: {n: 1}}"),
        (as_list(AnyValue(bytes_value=b"\x00"), AnyValue()), "AA==, "),
        (AnyValue(bytes_value=b"\x00"), "AA=="),
        (AnyValue(string_value="otlp-map:x"), "otlp-map:x"),
        (AnyValue(string_value="otlp-list:/w=="), "otlp-list:/w=="),
    ],
)
def test_lists_and_maps_are_read_as_text_wherever_they_stand(store: Store, value: AnyValue, text: str) -> None:
    pair = KeyValue(key="value", value=value)
    told = span(links=[link(*SENDER)])
    told.attributes.append(pair)
    told.links[0].attributes.append(pair)
    told.events.append(Span.Event(time_unix_nano=START_NS, name="e", attributes=[pair]))
    store.load(body(told), "once")
    [row] = Queries(store).spans([told.trace_id.hex()], 10)
    found = row.attributes, row.links[0].attributes, row.events[0].attributes
    assert [attributes["value"] for attributes in found] == [text] * 3


@pytest.mark.parametrize("bytes_", [b"\x0a\xff\xff", b"\xff" * 40, b"hello"])
def test_bytes_that_are_no_request_are_refused_for_good_and_nothing_is_written(store: Store, bytes_: bytes) -> None:
    with pytest.raises(BadRequestBytes):
        store.load(body(span()) + bytes_, "once")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(0,)]


def test_an_empty_body_stores_nothing(store: Store) -> None:
    store.load(b"", "once")
    assert store.query(f"SELECT count() FROM {store.database}.spans") == [(0,)]


def test_a_closed_store_refuses(store_dsn: str) -> None:
    opened = open_store(store_dsn, "closed")
    opened.close()
    with pytest.raises(StoreError, match="closed"):
        opened.query("SELECT 1")


def test_loads_go_on_while_every_client_for_queries_is_busy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    are_busy, may_end = threading.Barrier(connection.MOST_CLIENTS), threading.Event()

    def ask() -> None:
        with store._querying(), store._client():
            are_busy.wait(20)
            may_end.wait(20)

    with ThreadPoolExecutor(connection.MOST_CLIENTS) as threads:
        asking = [threads.submit(ask) for _ in range(connection.MOST_QUERIES)]
        are_busy.wait(20)
        loading = threads.submit(store.load, body(span()), "once")
        monkeypatch.setattr(connection, "QUERY_TIMEOUT_S", 0.01)
        with pytest.raises(StoreError, match="under way"):
            store.query("SELECT 1")
        is_loaded = not wait([loading], 10).not_done
        may_end.set()
        for future in [*asking, loading]:
            future.result()
    assert is_loaded


def test_a_query_that_takes_too_long_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "QUERY_TIMEOUT_S", 1)
    with pytest.raises(TookTooLong):
        store.query("SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1")
    assert store.query("SELECT 1") == [(1,)]


def test_closing_waits_for_a_call_that_never_ends_no_longer_than_its_limit(
    store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.01)
    opened = open_store(store_dsn, "closing")
    with opened._client() as client:
        closer = threading.Thread(target=opened.close, daemon=True)
        closer.start()
        closer.join(10)
        assert not closer.is_alive()
        assert client.query("SELECT 1").result_rows == [(1,)]
    assert opened._clients == 0


def test_a_second_process_on_the_same_path_is_told_so(store_dsn: str) -> None:
    opening = f"from flowtrail.collector.store.connection import open_store; open_store({store_dsn!r})"
    second = subprocess.run([sys.executable, "-c", opening], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "is another process using it" in second.stderr


def test_what_the_poller_inserts_is_read_back(store: Store) -> None:
    store.insert("topic_offsets", ["topic", "partition", "log_start", "log_end"], [("orders", 0, 0, 10)])
    store.insert("topic_offsets", ["topic", "partition", "log_start", "log_end"], [])
    assert store.query(f"SELECT topic, partition, log_end FROM {store.database}.topic_offsets") == [("orders", 0, 10)]


def test_retention_is_set_changed_and_taken_back(store: Store) -> None:
    for days in (7, 7, 30, 0, 0):
        store.keep_for_days(days)
        [(ddl,)] = store.query(
            "SELECT create_table_query FROM system.tables WHERE database = {database:String} AND name = 'spans'",
            {"database": store.database},
        )
        assert (f"toIntervalDay({days})" in ddl) == (days > 0)


def events(store: Store) -> list[tuple[object, ...]]:
    return store.query(
        f"SELECT topic, partition, offset, operation, group_name FROM {store.database}.events ORDER BY ALL"
    )


def edges(store: Store) -> list[tuple[object, ...]]:
    return store.query(
        "SELECT service, operation, topic, group_name, sum(messages), sum(errors), sumMap(durations)"
        f" FROM {store.database}.edges GROUP BY ALL ORDER BY ALL"
    )

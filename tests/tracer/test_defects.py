"""What the existing Kafka instrumentations of Python do wrong, and which test shows that ours does not.

Seen with OpenTelemetry's contrib packages 0.66b1 and ddtrace 4.16. Most is held by a sentence of the contract, and so
by every client; the rest by tests of one library. What is held nowhere else is at the end of this file.
"""

import ast
import asyncio
import importlib
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

import flowtrail
from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.tracer import attributes as names
from flowtrail.tracer.clients import aiokafka, confluent

from .contract import TracedClientContract
from .spans import Spans, attributes


@dataclass(frozen=True, slots=True)
class Defect:
    """`shown_by`: sentences of the contract, or `module:function` in this folder."""

    whose: str
    what: str
    shown_by: tuple[str, ...]


DEFECTS: Final = (
    Defect(
        "contrib, kafka-python",
        "poll() makes no span",
        ("test_a_poll_is_a_client_span_with_a_link_to_each_record",),
    ),
    Defect(
        "contrib, kafka-python",
        "headers that are given by position raise TypeError",
        ("test_every_argument_of_send_may_be_given_by_position",),
    ),
    Defect(
        "contrib, kafka-python",
        "the caller's header list is added to, so a list that is used again collects contexts",
        ("test_a_header_list_that_is_sent_again_and_again_stays_as_it_was",),
    ),
    Defect(
        "contrib, all three",
        "a traceparent that is not UTF-8 raises into the consumer's loop",
        (
            "test_headers_of_others_that_make_no_sense_do_not_reach_the_loop",
            "test_no_headers_of_others_reach_the_loop_or_are_changed",
        ),
    ),
    Defect(
        "contrib, kafka-python and aiokafka",
        "the span of a received record ends before the program's code runs, and what it sends begins a new trace",
        (
            "test_a_loop_over_records_makes_a_span_for_each_that_holds_what_its_body_does",
            "test_a_loop_over_polls_makes_a_span_for_each_batch_that_holds_what_its_body_does",
        ),
    ),
    Defect(
        "contrib, kafka-python and aiokafka",
        "a delivery that fails is no error on its span",
        (
            "test_a_partition_that_is_not_there_is_refused_as_without_us",
            "test_delivery:test_a_delivery_that_fails_is_an_error_and_the_future_says_the_same",
            "test_confluent_producer:test_a_record_that_no_broker_took_is_an_error",
        ),
    ),
    Defect(
        "contrib, kafka-python",
        "attributes have old names, and are set after sampling is decided",
        (
            "test_a_send_is_a_producer_span_that_says_where_the_record_lies",
            "test_what_is_known_before_a_send_is_known_to_the_sampler",
        ),
    ),
    Defect(
        "contrib, all three",
        "a context that was copied along stays, the new one is added behind it, and the first one counts",
        (
            "test_a_context_that_was_copied_from_the_record_in_hand_is_replaced_and_linked",
            "test_of_several_contexts_in_a_record_the_last_valid_one_wins_and_the_others_are_linked_too",
        ),
    ),
    Defect(
        "contrib, confluent-kafka",
        "the headers' place among the arguments is guessed wrong: a timestamp by position loses the context",
        ("test_every_argument_of_send_may_be_given_by_position",),
    ),
    Defect(
        "contrib, confluent-kafka",
        "the proxies lack or break assign, seek, list_topics",
        (
            "test_the_clients_look_like_the_originals",
            "test_an_object_is_an_instance_of_the_original_and_shows_itself_as_one",
            "test_a_seek_is_an_event_of_the_next_poll",
        ),
    ),
    Defect(
        "contrib, confluent-kafka",
        "SerializingProducer, produce_batch and AIOProducer make no spans",
        (
            "test_confluent_layers:test_what_is_serialized_is_one_send_and_its_process_links_it",
            "test_confluent_producer:test_a_batch_makes_a_span_for_each_record_and_calls_back_as_ever",
            "test_confluent_layers:test_an_asyncio_send_is_a_child_of_what_awaits_it",
        ),
    ),
    Defect(
        "contrib, confluent-kafka",
        "the end of a partition makes a span of processing",
        ("test_confluent_consumer:test_the_end_of_a_partition_is_no_record_and_makes_no_span",),
    ),
    Defect(
        "contrib, confluent-kafka",
        "each span of receiving is a root without attributes",
        ("test_a_poll_of_one_record_names_it_on_the_span_too",),
    ),
    Defect(
        "contrib, confluent-kafka",
        "uninstrument leaves methods wrapped",
        (
            "test_uninstrument_leaves_every_attribute_as_it_was",
            "test_confluent_names:test_uninstrument_leaves_every_name_method_and_base_as_it_was",
        ),
    ),
    Defect(
        "contrib, aiokafka",
        "serializers and the partitioner are called once more by the instrumentation",
        (
            "test_the_serializer_is_called_once_for_each_send",
            "test_defects:test_aiokafkas_serializers_and_partitioner_are_called_once_for_each_send",
        ),
    ),
    Defect(
        "contrib, aiokafka",
        "the partition on a span is often not the record's",
        ("test_the_partition_on_a_send_is_the_one_where_the_record_lies",),
    ),
    Defect(
        "contrib, aiokafka",
        "the span ends before the broker answered",
        ("test_a_send_lasts_until_the_broker_answered",),
    ),
    Defect(
        "contrib, aiokafka",
        "there is no context in `async for`",
        ("test_a_loop_over_records_makes_a_span_for_each_that_holds_what_its_body_does",),
    ),
    Defect(
        "ddtrace",
        "headers that are a list raise TypeError into the application",
        (
            "test_headers_of_every_type_are_taken_or_refused_as_without_us",
            "test_headers_of_every_content_are_sent_as_they_are_beside_the_context",
        ),
    ),
    Defect(
        "ddtrace",
        "the first produce waits for the cluster's metadata",
        ("test_defects:test_a_produce_asks_the_broker_for_nothing_of_its_own",),
    ),
    Defect(
        "all",
        "no transaction and no commit is traced",
        (
            "test_an_event_of_a_transaction_that_is_aborted_says_so",
            "test_positions_in_a_transaction_are_committed_with_it",
            "test_a_commit_is_a_span_with_the_positions_of_each_partition",
            "test_a_consumer_that_commits_by_itself_makes_a_span_that_says_so",
        ),
    ),
    Defect(
        "all",
        "key, tombstone, group, partition, offset and the record's own time are not told together",
        (
            "test_processing_is_a_consumer_span_linked_to_the_records_context",
            "test_a_record_without_a_value_is_a_tombstone_on_both_sides",
        ),
    ),
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.whose}: {defect.what}")
def test_each_defect_of_others_has_a_test_that_runs_and_asserts_that_ours_is_right(defect: Defect) -> None:
    for shown_by in defect.shown_by:
        module, _, function = shown_by.rpartition(":")
        place: Any = importlib.import_module(f"tests.tracer.{module}") if module else TracedClientContract
        found = getattr(place, function, None)
        assert callable(found), f"there is no {shown_by}"
        assert function.startswith("test_")
        assert not {mark.name for mark in getattr(found, "pytestmark", ())} & {"skip", "xfail"}
        assert asserts(found), f"{shown_by} asserts nothing"


def asserts(test: Callable[..., object]) -> bool:
    """Whether a test compares something, or expects something to be raised."""
    return any(
        isinstance(node, ast.Assert) or ast.unparse(node).startswith("pytest.raises(")
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(test))))
        if isinstance(node, ast.Assert | ast.Call)
    )


def test_a_test_with_an_empty_body_asserts_nothing() -> None:
    def empty() -> None:
        """A sentence, and nothing else."""

    assert not asserts(empty)
    assert asserts(test_a_test_with_an_empty_body_asserts_nothing)


def test_a_produce_asks_the_broker_for_nothing_of_its_own() -> None:
    asked: list[str] = []

    class Listening(confluent.Producer):
        def list_topics(self, *arguments: Any, **options: Any) -> Any:
            asked.append("list_topics")
            return super().list_topics(*arguments, **options)

        def cluster_id(self, *arguments: Any, **options: Any) -> Any:
            asked.append("cluster_id")
            return super().cluster_id(*arguments, **options)

    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    with EmbeddedBroker() as broker:
        producer = Listening({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("orders", b"value")
        producer.flush(20)
    spans.one("send orders")
    assert asked == []


def test_aiokafkas_serializers_and_partitioner_are_called_once_for_each_send() -> None:
    calls: Counter[str] = Counter()

    def serialize(text: str) -> bytes:
        calls["serializer"] += 1
        return text.encode()

    def choose(key: bytes, all_partitions: list[int], available: list[int]) -> int:
        calls["partitioner"] += 1
        return all_partitions[calls["partitioner"] % len(all_partitions)]

    async def send() -> list[tuple[int, int]]:
        async with aiokafka.AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap_servers, value_serializer=serialize, partitioner=choose
        ) as producer:
            stored = [await producer.send_and_wait("orders", f"order-{number}", key=b"key") for number in range(8)]
            return [(each.partition, each.offset) for each in stored]

    spans = Spans()
    flowtrail.set_up(tracer_provider=spans.provider)
    with EmbeddedBroker() as broker:
        stored = asyncio.run(send())
    assert calls == {"serializer": 8, "partitioner": 8}
    found = [attributes(span) for span in spans.wait("send orders", 8)]
    assert [(int(str(each[names.PARTITION])), each[names.OFFSET]) for each in found] == stored

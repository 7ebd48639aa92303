"""Asks a Kafka cluster for groups, commits, log starts and ends, by confluent-kafka's admin client.

Commits are read before ends, so that a group that keeps up never seems ahead of the log. An error of one partition or
one group leaves that one out. Brokers that list no groups (the embedded one) are asked for those that spans name.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its types leave it out

from flowtrail.collector.flows.rows import Lane

from .snapshot import NO_COMMIT, GroupState, Snapshot

TIMEOUT_S: Final = 10.0


class BrokerError(Exception):
    """The cluster could not be asked. Trying later may help; the text is for people."""


def check_properties(properties: Mapping[str, str | int | float | bool]) -> None:
    """Connect to nothing; raise ValueError, in librdkafka's words, for properties that no client can be made with."""
    try:
        AdminClient({"log_level": 0, **properties})
    except KafkaException as error:
        raise ValueError(error.args[0].str()) from error
    except (TypeError, ValueError) as error:
        raise ValueError(str(error)) from error


class Broker:
    """One cluster. Used from one thread."""

    def __init__(
        self,
        bootstrap_servers: str,
        properties: Mapping[str, str | int | float | bool],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        # librdkafka writes a line to stderr for every failed connection; the poller's status says it once.
        self._servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._client = AdminClient({"log_level": 0, **properties, "bootstrap.servers": bootstrap_servers})

    def ask(self, known: Mapping[str, frozenset[str]]) -> Snapshot:
        """Return a snapshot. `known` are groups and their topics as spans tell them. Raises BrokerError."""
        try:
            metadata = self._client.list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            raise BrokerError(f"{self._servers} does not answer: {error.args[0].str()}") from error
        lanes: dict[str, list[int]] = {
            topic: sorted(about.partitions)
            for topic, about in metadata.topics.items()
            if about.error is None and not topic.startswith("__")
        }
        listed = self._groups()
        states = self._states(listed) if listed is not None else {}
        for group in known:
            states.setdefault(group, GroupState("", is_listed=False))
        commits = self._commits(listed, known, lanes)
        starts = self._offsets(lanes, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(lanes, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return Snapshot(
            cluster_id=metadata.cluster_id or "",
            commits=commits,
            logs={lane: (starts[lane], ends[lane]) for lane in ends if lane in starts},
            states=states,
        )

    def _groups(self) -> list[str] | None:
        """The groups that the cluster lists; None where it cannot."""
        result = _result(self._client.list_consumer_groups(request_timeout=self._timeout_s))
        if result is None or (result.errors and not result.valid):
            return None
        return sorted(one.group_id for one in result.valid)

    def _states(self, groups: list[str]) -> dict[str, GroupState]:
        if not groups:
            return {}
        found = {}
        for group, future in self._client.describe_consumer_groups(groups, request_timeout=self._timeout_s).items():
            about = _result(future)
            state = about.state.name.title().replace("_", "") if about is not None else ""
            # A listed group is not dead: so old calls describe groups of the newer protocol (KIP-848).
            if about is None or state in ("Dead", "Unknown"):
                found[group] = GroupState("", is_listed=False)
                continue
            members = tuple(sorted((one.member_id, one.client_id, one.host) for one in about.members))
            found[group] = GroupState(state, is_listed=True, members=members)
        return found

    def _commits(
        self, listed: list[str] | None, known: Mapping[str, frozenset[str]], lanes: Mapping[str, list[int]]
    ) -> dict[tuple[str, str, int], int]:
        futures: dict[str, Future[Any]] = {}
        for group in sorted(set(listed or ()) | set(known)):
            partitions = None
            if listed is None or group not in listed:
                own = [(topic, one) for topic in sorted(known.get(group, ())) for one in lanes.get(topic, ())]
                if not own:
                    continue
                partitions = [TopicPartition(topic, one) for topic, one in own]
            request = [ConsumerGroupTopicPartitions(group, partitions)]
            futures |= self._client.list_consumer_group_offsets(request, request_timeout=self._timeout_s)
        found: dict[tuple[str, str, int], int] = {}
        for group, future in futures.items():
            answer = _result(future)
            if answer is None:
                continue
            # Brokers that list groups name committed partitions only; the rest of what the group reads has no commit.
            read = {(group, topic, one) for topic in known.get(group, ()) for one in lanes.get(topic, ())}
            found |= dict.fromkeys(read, NO_COMMIT)
            for one in answer.topic_partitions:
                key = (group, one.topic, one.partition)
                if one.error is not None:
                    found.pop(key, None)
                elif one.offset >= 0 and not one.topic.startswith("__"):
                    found[key] = one.offset
        return found

    def _offsets(self, lanes: Mapping[str, list[int]], which: OffsetSpec) -> dict[Lane, int]:
        asked = {TopicPartition(topic, one): which for topic, partitions in lanes.items() for one in partitions}
        if not asked:
            return {}
        found = {}
        for lane, future in self._client.list_offsets(asked, request_timeout=self._timeout_s).items():
            answer = _result(future)
            # After a leader's death an offset below zero comes without an error.
            if answer is not None and answer.offset >= 0:
                found[lane.topic, lane.partition] = answer.offset
        return found


def _result(future: "Future[Any]", timeout_s: float = TIMEOUT_S) -> Any:
    """The future's result; None for what the cluster refused or did not answer in time."""
    try:
        return future.result(timeout_s + 1)
    except (KafkaException, TimeoutError):
        return None

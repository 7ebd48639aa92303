"""The broker that a run goes through: the embedded one, or one of the user's, on which it tidies up after itself."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kafka import KafkaConsumer

from flowtrail.demo.embedded_broker import EmbeddedBroker
from flowtrail.demo.topics import GROUPS, READERS

log = logging.getLogger(__name__)

_PARTITIONS: Final = 3
_TIMEOUT_S: Final = 20
_REACHED_WITHIN_S: Final = 5


class BrokerUnreachable(Exception):
    """There is no broker at the address that was given, or it refuses the demo's topics."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the run's records go.

    `prefix` is what its topics and groups begin with; `name` is `embedded` or such as `kafka 4.x`.
    """

    bootstrap_servers: str
    prefix: str
    name: str
    is_embedded: bool

    def readers(self) -> dict[str, tuple[str, ...]]:
        """Return the groups of each topic, by the names that they have on this broker."""
        return {
            self.prefix + topic: tuple(self.prefix + group for group in groups) for topic, groups in READERS.items()
        }


@contextmanager
def broker(bootstrap_servers: str) -> Iterator[Broker]:
    """Have every topic of the shop on a broker: the user's, or the embedded one when the address is empty.

    On the user's broker the topics and groups get names that nobody else has, and are deleted at the end. Raises
    BrokerUnreachable.
    """
    if not bootstrap_servers:
        with EmbeddedBroker() as embedded:
            admin = AdminClient({"bootstrap.servers": embedded.bootstrap_servers, "log_level": 2})
            for topic in READERS:
                admin.list_topics(topic, timeout=_TIMEOUT_S)  # asking for it makes it
            yield Broker(embedded.bootstrap_servers, "", "embedded", is_embedded=True)
        return
    # Whatever the log of an address that does not answer says, the exception says it too.
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    prefix = f"demo-{secrets.token_hex(3)}."
    topics = [prefix + topic for topic in READERS]
    try:
        admin.list_topics(timeout=_REACHED_WITHIN_S)
        _wait(admin.create_topics([NewTopic(topic, _PARTITIONS) for topic in topics], request_timeout=_TIMEOUT_S))
    except KafkaException as error:
        raise BrokerUnreachable(f"{bootstrap_servers}: {error.args[0].str()}") from error
    try:
        yield Broker(bootstrap_servers, prefix, _name(bootstrap_servers), is_embedded=False)
    finally:
        _delete(admin, topics, [prefix + group for group in GROUPS])


def _name(bootstrap_servers: str) -> str:
    """Return `kafka` and the major version. The protocol tells no more: minor versions may speak the same one."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers)
    try:
        return f"kafka {consumer.config['api_version'][0]}.x"
    finally:
        consumer.close()


def _delete(admin: AdminClient, topics: list[str], groups: list[str]) -> None:
    try:
        _wait(admin.delete_topics(topics, request_timeout=_TIMEOUT_S))
    except KafkaException as error:
        log.warning("the demo's topics are still on the broker: %s", error)
    for group, future in admin.delete_consumer_groups(groups, request_timeout=_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            log.info("group %s is left to the broker's own retention: %s", group, error)


def _wait(futures: dict[str, Any]) -> None:
    for future in futures.values():
        future.result()

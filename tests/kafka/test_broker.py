"""The launcher gives an Apache Kafka that clients can use."""

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.broker import KafkaBroker


def test_the_broker_answers_under_the_cluster_id_that_it_was_formatted_with(kafka: KafkaBroker) -> None:
    metadata = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10)
    assert metadata.cluster_id == kafka.cluster_id
    assert len(metadata.brokers) == 1


def test_the_broker_is_the_version_that_the_pom_names(kafka: KafkaBroker) -> None:
    assert kafka.version.split(".")[0] == "4"


def test_a_topic_gets_the_partitions_that_were_asked_for(kafka: KafkaBroker) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for created in admin.create_topics([NewTopic("launcher-check", num_partitions=3, replication_factor=1)]).values():
        created.result(timeout=10)
    assert len(admin.list_topics("launcher-check", timeout=10).topics["launcher-check"].partitions) == 3

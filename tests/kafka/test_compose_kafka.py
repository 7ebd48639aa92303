"""The Apache Kafka of deploy/compose.yaml is one that starts: its own tool takes its configuration."""

import subprocess
from pathlib import Path

import yaml

from tests.kafka.broker import KafkaBroker, fetch_jars

COMPOSE = Path(__file__).parent.parent.parent / "deploy" / "compose.yaml"


def test_the_composed_broker_formats_its_storage(kafka: KafkaBroker, tmp_path: Path) -> None:
    environment = yaml.safe_load(COMPOSE.read_text())["services"]["kafka"]["environment"]
    # The image's own rule: KAFKA_NODE_ID becomes node.id.
    options = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment.items()}
    lines = [f"{name}={value}" for name, value in options.items()]
    configuration = tmp_path / "server.properties"
    configuration.write_text("\n".join([*lines, f"log.dirs={tmp_path / 'data'}"]))
    tool = ["java", "-cp", f"{fetch_jars()}/*", "kafka.tools.StorageTool", "format"]
    ended = subprocess.run(
        [*tool, "-t", kafka.cluster_id, "-c", str(configuration)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "data" / "meta.properties").exists()

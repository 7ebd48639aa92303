"""What tests see of the log."""

import logging

import pytest


@pytest.mark.parametrize("library", ["kafka", "kafka.cluster", "aiokafka.conn"])
def test_what_a_kafka_library_logs_of_itself_is_no_tests_matter(caplog: pytest.LogCaptureFixture, library: str) -> None:
    logging.getLogger(library).warning("no partition metadata yet")
    logging.getLogger("flowtrail.tracer").warning("3 spans dropped")
    assert caplog.messages == ["3 spans dropped"]

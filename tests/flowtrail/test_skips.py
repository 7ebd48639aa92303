"""What did not run is said aloud, and is a failure in continuous integration."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SUITE = """
import pytest

@pytest.mark.kafka
def test_something_on_a_broker():
    pytest.skip("there is no broker")

@pytest.mark.xfail(reason="known")
def test_something_that_is_known_to_fail():
    assert False
"""


def ended(tmp_path: Path, suite: str, ci: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_suite.py").write_text(suite)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    kafka: needs a broker\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:dash", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_on_a_persons_machine_a_skip_passes_and_says_how_to_get_what_is_missing(tmp_path: Path) -> None:
    outcome = ended(tmp_path, SUITE, "")
    assert outcome.returncode == 0, outcome.stdout
    assert "1 kafka tests did NOT run" in outcome.stdout
    assert "Apache Kafka needs Java 17 and Maven" in outcome.stdout


def test_in_continuous_integration_a_skip_is_a_failure_that_gives_the_reason(tmp_path: Path) -> None:
    outcome = ended(tmp_path, SUITE, "true")
    assert outcome.returncode == 1
    assert "1 failed, 1 xfailed" in outcome.stdout
    assert "nothing may be skipped in CI, but this was: Skipped: there is no broker" in outcome.stdout


def test_in_continuous_integration_a_whole_module_may_not_be_skipped_either(tmp_path: Path) -> None:
    suite = "import pytest\npytest.skip('no browser', allow_module_level=True)\n"
    outcome = ended(tmp_path, suite, "true")
    assert outcome.returncode != 0
    assert "nothing may be skipped in CI, but this was: Skipped: no browser" in outcome.stdout

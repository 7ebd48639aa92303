"""`make bench` runs every benchmark: each that can be run has a short form."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
# Programs that benchmarks start; each is run by one of them, never by a person.
PARTS = {"bare_receiver.py", "collector_process.py", "otlp_load.py"}
BENCHMARKS = sorted(path.name for path in FOLDER.glob("[a-z]*.py") if path.name not in PARTS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_a_short_form_and_says_how_it_is_run(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert 'if __name__ == "__main__":' in text
    assert '"--quick"' in text  # what `make bench` looks for


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_is_used_by_a_benchmark(name: str) -> None:
    module = name.removesuffix(".py")
    users = [path.name for path in FOLDER.glob("*.py") if path.name != name]
    assert any(re.search(rf"\b{module}\b", (FOLDER / user).read_text()) for user in users)

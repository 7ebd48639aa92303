"""The demo says what to type next, so that a copy of the line works where the demo was started."""

from pathlib import Path

import pytest

from flowtrail.demo.next_steps import program, why_command

HERE = Path("/home/me/flowtrail")


@pytest.mark.parametrize(
    ("script", "on_path", "typed"),
    [
        (".venv/bin/flowtrail", None, ".venv/bin/flowtrail"),
        (".venv/bin/flowtrail", "/usr/bin/flowtrail", ".venv/bin/flowtrail"),
        ("/home/me/flowtrail/.venv/bin/flowtrail", "/home/me/flowtrail/.venv/bin/flowtrail", "flowtrail"),
        ("/opt/my tools/flowtrail", None, "'/opt/my tools/flowtrail'"),
        ("/home/me/flowtrail/flowtrail/__main__.py", None, ".venv/bin/python -m flowtrail"),
        ("-c", None, ".venv/bin/python -m flowtrail"),
    ],
)
def test_the_program_is_called_as_it_was_started(script: str, on_path: str | None, typed: str) -> None:
    assert program(script, str(HERE / ".venv/bin/python"), on_path, HERE) == typed


def test_a_question_names_the_collector_that_is_asked() -> None:
    asked = why_command("key=o-1-00001", "http://127.0.0.1:42185", ".venv/bin/flowtrail")
    assert asked == ".venv/bin/flowtrail why --url http://127.0.0.1:42185 key=o-1-00001"

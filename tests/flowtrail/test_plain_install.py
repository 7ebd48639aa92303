"""Where only a part is installed, that part works, and the rest says how to get it."""

import subprocess
import sys
import textwrap


def run_without(hidden: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a Python that cannot find the `hidden` modules (separated by blanks)."""
    hide = f"""
        import importlib.machinery, sys

        class Finder(importlib.machinery.PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name.split(".")[0] in {hidden.split()!r} else super().find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(hide) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_of_a_plain_install_names_the_extra() -> None:
    ended = run_without("typer rich", "from flowtrail.cli import main; main()")
    assert ended.returncode == 2
    assert ended.stderr == (
        "flowtrail: the commands are not installed (typer, rich is missing); "
        "this is the tracer alone. In a clone of Flowtrail, get them with: pip install '.[all]'\n"
    )


def test_a_command_whose_part_is_missing_names_the_extra() -> None:
    for hidden, command, extra in (
        ("chdb", "collect", "collector"),
        ("dash", "ui", "ui"),
        ("kafka", "demo", "all"),
    ):
        program = f"from flowtrail.cli.app import run; raise SystemExit(run([{command!r}]))"
        ended = run_without(hidden, program)
        assert ended.returncode == 2, ended.stderr
        assert f"pip install '.[{extra}]'" in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_importing_flowtrail_loads_nothing_but_the_tracer() -> None:
    program = """
        import sys
        before = set(sys.modules)
        import flowtrail
        loaded = {name.split(".")[0] for name in set(sys.modules) - before}
        heavy = {"chdb", "clickhouse_connect", "confluent_kafka", "dash", "networkx", "pydantic", "rich", "typer"}
        other_parts = ("flowtrail.collector", "flowtrail.ui", "flowtrail.cli", "flowtrail.demo")
        print(sorted(loaded & heavy), [name for name in sys.modules if name.startswith(other_parts)])
    """
    assert run_without("nothing", program).stdout == "[] []\n"

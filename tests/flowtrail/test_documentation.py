"""The documents are true: commands, options, links and code in them exist."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flowtrail.cli.app import app
from flowtrail.collector.api.answers import State
from flowtrail.tracer.metrics import HEALTH

from . import reference

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks of a language, with the page that they stand on."""
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            yield named(page), block


def commands() -> list[tuple[str, str]]:
    return [(page, line) for page, block in blocks("sh") for line in block.splitlines() if line.strip()]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_in_the_documents_exists(page: str, command: str) -> None:
    program, *arguments = shlex.split(command)
    match program:
        case "make":
            assert arguments[0] in make_targets()
        case "flowtrail":
            # Parses every option and argument; raises typer's own exception for one that does not exist.
            COMMANDS[arguments[0]].make_context(arguments[0], arguments[1:])
        case "pip":
            assert arguments[0] == "install"
            assert re.fullmatch(rf"\.(\[({'|'.join(EXTRAS)})\])?", arguments[1])
        case "docker":
            assert (ROOT / arguments[arguments.index("-f") + 1]).exists()
        case _:
            pytest.fail(f"{page} names {program}, of which nothing is known here")


@pytest.mark.parametrize("folder", ["ui", "flowtrail/cli"])
def test_pages_and_commands_tell_to_install_it_as_the_documents_do(folder: str) -> None:
    texts = [path.read_text() for path in (ROOT / folder).rglob("*.py")]
    told = [found for text in texts for found in re.findall(r"pip install ([^\s\"]+)", text)]
    assert told
    assert [found for found in told if not re.fullmatch(rf"\.|'\.\[({'|'.join(EXTRAS)}|{{extra}})\]'", found)] == []


def test_make_help_lists_every_command() -> None:
    targets = make_targets()
    listed = set(re.findall(r"^([a-z]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets == listed == set(phony.split())


def test_continuous_integration_runs_a_command_that_the_readers_know() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"make (\w+)$", script, re.MULTILINE) == ["test"]
    assert "make test" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("page", [named(page) for page in PAGES])
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as they are made on code hosts."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_option_of_the_collector_and_of_the_tracer_is_documented() -> None:
    text = reference.PAGE.read_text()
    assert text == reference.page(text), "run `make reference`"


def test_every_metric_of_the_tracers_own_health_is_documented() -> None:
    text = reference.PAGE.read_text()
    assert [name for name, *_ in HEALTH if f"`{name}`" not in text] == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"collect"}))
def test_every_option_of_the_other_commands_is_documented(command: str) -> None:
    text = reference.PAGE.read_text()
    options = {name for parameter in COMMANDS[command].params for name in parameter.opts if name.startswith("--")}
    assert {option for option in options - {"--help"} if f"`{option}`" not in text} == set()


def test_every_state_of_a_hop_is_documented() -> None:
    text = (ROOT / "docs" / "why-a-flow-failed.md").read_text()
    assert {state for state in State if f"`{state}`" not in text} == set()


@pytest.mark.parametrize(("page", "code"), list(blocks("python")))
def test_the_code_in_the_documents_names_what_exists(page: str, code: str) -> None:
    tree = ast.parse(code)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), page
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            assert hasattr(known[node.value.id], node.attr), f"{page}: {node.value.id}.{node.attr}"


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert re.findall(r"\((0[\w-]+\.md)\)", (folder / "README.md").read_text()) == records
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))

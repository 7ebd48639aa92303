"""What the folders of the traced clients share, and what they keep to themselves."""

import ast
from pathlib import Path

import pytest

from flowtrail.tracer import clients

ROOT = Path(clients.__file__).parent
LIBRARIES = {"kafka_python": "kafka", "confluent": "confluent_kafka", "aiokafka": "aiokafka"}
PREFIX = "flowtrail.tracer.clients."


def imported(source: Path) -> set[str]:
    """The modules that a file imports, at whatever place; relative ones are of its own folder."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            found.add(node.module)
    return found


def test_the_table_of_contents_names_every_shared_file_and_every_folder() -> None:
    said = clients.__doc__ or ""
    assert {source.name for source in ROOT.glob("*.py") if source.name not in said} == {"__init__.py"}
    assert all(f"{folder}/" in said for folder in LIBRARIES)


@pytest.mark.parametrize("folder", LIBRARIES)
def test_a_folder_says_of_each_of_its_files_what_it_is_for(folder: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
    assert {source.name for source in (ROOT / folder).glob("*.py") if source.name not in said} == {"__init__.py"}


@pytest.mark.parametrize("folder", LIBRARIES)
def test_a_folder_imports_its_own_library_and_no_other_folder(folder: str) -> None:
    modules = {module for source in (ROOT / folder).glob("*.py") for module in imported(source)}
    others = {other for other in LIBRARIES if other != folder}
    assert LIBRARIES[folder] in {module.split(".")[0] for module in modules}
    assert not {LIBRARIES[other] for other in others} & {module.split(".")[0] for module in modules}
    assert not others & {module.removeprefix(PREFIX).split(".")[0] for module in modules if module.startswith(PREFIX)}


def test_what_the_folders_share_imports_no_library() -> None:
    modules = {module.split(".")[0] for source in ROOT.glob("*.py") for module in imported(source)}
    assert not modules & set(LIBRARIES.values())

"""A folder's docstring is its table of contents: who reads it finds every file."""

import ast
import re
from pathlib import Path

import pytest

from flowtrail.tracer import tracing

TRACER = Path(tracing.__file__).parent
FOLDERS = sorted(path.parent for path in TRACER.rglob("__init__.py"))


def test_the_folders_are_found() -> None:
    assert {"fast_path", "clients", "confluent"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(TRACER.parent)))
def test_the_docstring_of_a_folder_names_every_file_in_it_and_no_other(folder: Path) -> None:
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert files - set(re.findall(r"(?<![\w/])\w+\.py\b", told)) == set()
    assert folders - set(re.findall(r"\b\w+/", told)) == set()
    # Another folder's file is named with its folder.
    assert set(re.findall(r"(?<![\w/])\w+\.py\b", told)) - files == set()

"""The parts know each other only as the design says, so that each can be taken alone or replaced.

`tracer` runs in the user's process and imports nothing of ours; `collector` shares the tracer's names and header codec;
`ui` sees the collector through the client; `flowtrail` may use everything.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ALLOWED = {
    "tracer": set[str](),
    "collector": {"flowtrail.tracer.attributes", "flowtrail.tracer.headers"},
    "ui": {"flowtrail.client"},
}


def modules_of_ours(path: Path) -> Iterator[str]:
    """Every module under `flowtrail` that the file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "flowtrail")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and str(node.module).split(".")[0] == "flowtrail":
            # `from flowtrail.tracer import headers` imports a module, `from flowtrail.client import Client` a name.
            for alias in node.names:
                below = ROOT / "flowtrail" / Path(*f"{node.module}.{alias.name}".split(".")[1:])
                is_module = below.with_suffix(".py").exists() or (below / "__init__.py").exists()
                yield f"{node.module}.{alias.name}" if is_module else str(node.module)


def is_allowed(module: str, package: str) -> bool:
    return module.startswith(f"flowtrail.{package}.") or module in ALLOWED[package]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_it_may_know(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    crossed = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in modules_of_ours(path)
        if not is_allowed(module, package)
    ]
    assert crossed == []


def test_no_part_imports_another_by_the_name_of_its_folder() -> None:
    crossed = [
        f"{path.relative_to(ROOT)}: {node.lineno}"
        for folder in ("flowtrail", "tracer", "collector", "ui", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and node.level == 0 and str(node.module).split(".")[0] in ALLOWED)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] in ALLOWED for alias in node.names))
    ]
    assert crossed == []

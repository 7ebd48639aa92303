"""What is in the tree is in the wheel, and the wheel works where nothing else is."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
# Import names of the folders at the top: {"flowtrail": "flowtrail", "flowtrail.tracer": "tracer", …}.
FOLDERS: dict[str, str] = {"flowtrail": "flowtrail", **SETUPTOOLS["package-dir"]}
# The environment of a person, not of this run's virtual environment.
CLEAN = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV", "CI"}}


def run(*command: str | Path, cwd: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=timeout_s)
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended


def files_of(name: str, folder: str, pattern: str) -> Iterator[str]:
    """Files of a top folder, as they are called in the wheel; a link to another part is that part's own affair."""
    for path in (ROOT / folder).rglob(pattern):
        inside = path.relative_to(ROOT / folder)
        if not (ROOT / folder / inside.parts[0]).is_symlink() and "__pycache__" not in inside.parts:
            yield "/".join([*name.split("."), *inside.parts])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy without symbolic links, as on a checkout that has none."""
    source = tmp_path_factory.mktemp("clone")
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", source / "dist", source, cwd=source, timeout_s=120)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_every_package_is_declared() -> None:
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
        if folder != "flowtrail"
        or not any(init.is_relative_to(ROOT / "flowtrail" / part) for part in ("tracer", "collector", "ui"))
    }
    assert found == set(SETUPTOOLS["packages"])


def test_every_folder_with_modules_is_a_package() -> None:
    modules = [path for folder in FOLDERS.values() for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in modules if not (path.parent / "__init__.py").exists()] == []


def test_every_file_that_the_parts_need_is_in_the_wheel(wheel: Path) -> None:
    wanted = {file for name, folder in FOLDERS.items() for file in files_of(name, folder, "*.*")}
    wanted = {file for file in wanted if not file.endswith(".md")}
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_wheel_carries_the_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if not name.startswith(("flowtrail/", "flowtrail-"))] == []


@pytest.mark.timeout(600)
def test_the_wheel_alone_helps_and_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python, flowtrail = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "flowtrail"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[all]", cwd=tmp_path, timeout_s=300)
    assert "demo" in run(flowtrail, "--help", cwd=tmp_path).stdout
    run(flowtrail, "demo", "--for", "10s", "--no-ui", cwd=tmp_path, timeout_s=120)

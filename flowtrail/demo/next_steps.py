"""What to type next, ready to be copied: the command line's questions to the demo's own collector."""

import shlex
import shutil
import sys
from pathlib import Path


def why_command(what: str, api_url: str, program: str) -> str:
    """Return the line that asks this collector about `what`: `.venv/bin/flowtrail why --url http://… key=o-1-00001`."""
    return f"{program} why --url {shlex.quote(api_url)} {shlex.quote(what)}"


def program_here() -> str:
    """Return how the program that runs is called from the folder that it was called in."""
    return program(sys.argv[0], sys.executable, shutil.which("flowtrail"), Path.cwd())


def program(script: str, python: str, on_path: str | None, folder: Path) -> str:
    """Return the shortest words that start `script`: its bare name where a shell finds it, a path within `folder`
    where it lies there. Whatever is no script of that name runs as a module of this `python`."""
    path = folder / script
    if path.name != "flowtrail":
        return f"{shlex.quote(_within(folder, Path(python)))} -m flowtrail"
    if on_path is not None and Path(on_path) == path:
        return "flowtrail"
    return shlex.quote(_within(folder, path))


def _within(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

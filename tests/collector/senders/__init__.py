"""Programs of other languages that send spans by OpenTelemetry's own exporters, fetched and built once.

What they need is kept in `.cache/senders`, in a folder named after the files that say what that is.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parent.parent.parent / ".cache" / "senders"

HOW_TO_GET: Final = (
    "Senders of other languages need Node and npm, Java 17 (a JDK) and Maven: `apt-get install nodejs npm "
    "default-jdk-headless maven` on Debian, `brew install node openjdk maven` on macOS"
)


class SenderMissing(Exception):
    """A language's tools are not on this machine; the message says how to get them."""


def node() -> tuple[list[str], dict[str, str]]:
    """Return the command of Node's sender and what its environment needs. Raises SenderMissing."""

    def fetch(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "node" / name, folder)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    folder = _kept("node", ("npm", "node"), ["package.json", "package-lock.json"], fetch)
    return ["node", str(HERE / "node" / "send.js")], {"SENDERS_CACHE": str(folder)}


def java() -> tuple[list[str], dict[str, str]]:
    """Return the command of Java's sender, which Java runs from its source. Raises SenderMissing."""

    def fetch(folder: Path) -> None:
        copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        _run(["mvn", "-B", "-q", "-f", str(HERE / "java" / "pom.xml"), *copy], folder)

    folder = _kept("java", ("mvn", "java"), ["pom.xml"], fetch)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}/*", str(HERE / "java" / "Send.java")], {}


def _kept(language: str, tools: tuple[str, ...], sources: list[str], make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled; it is made anew when a source changed."""
    if not all(map(shutil.which, tools)):
        raise SenderMissing(HOW_TO_GET)
    digest = hashlib.sha256(b"".join((HERE / language / name).read_bytes() for name in sources)).hexdigest()[:16]
    folder = CACHE / f"{language}-{digest}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=CACHE, prefix="making-"))
    try:
        make(made)
        if not folder.is_dir():  # two runs may make it at the same time: the first one's stays
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "CI": "1"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

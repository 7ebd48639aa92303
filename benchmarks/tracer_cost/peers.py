"""A virtual environment for the instrumentations that Flowtrail is measured beside: they pin versions of their own.

Everything is measured in it, Flowtrail too, so that client libraries and SDK are the same for all.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent.parent.parent / ".cache" / "benchmark-peers"

# The clients are those that Flowtrail is tested with. `crc32c`: without it kafka-python sums every record in Python.
REQUIREMENTS: Final = (
    "kafka-python==3.0.12",
    "crc32c==2.9.post0",
    "confluent-kafka==2.16.1",
    "aiokafka==0.14.0",
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-kafka-python==0.66b1",
    "opentelemetry-instrumentation-confluent-kafka==0.66b1",
    "opentelemetry-instrumentation-aiokafka==0.66b1",
    "ddtrace==4.16.0",
)


def python() -> Path:
    """Return the interpreter of the environment, making it on first use (one to two minutes, from the package index).

    Raises CalledProcessError when it cannot be made; nothing half made is taken for whole the next time.
    """
    version = ".".join(map(str, sys.version_info[:2]))
    name = hashlib.sha256("\n".join((version, *REQUIREMENTS)).encode()).hexdigest()[:12]
    folder = FOLDER / name
    interpreter = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (folder / "complete").exists():
        print(f"making an environment for the other instrumentations in {folder} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        for requirement in REQUIREMENTS:
            print(f"  {requirement}", file=sys.stderr)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        (folder / "complete").touch()
    return interpreter

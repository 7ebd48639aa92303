"""OpenTelemetry's own instrumentations of the Kafka clients, for programs that tests run in a Python of their own.

They pin one release of everything of OpenTelemetry's, mostly another than is installed here. So they are put into a
folder aside, without what they depend on: with that folder on PYTHONPATH they are there, else they are not.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parent.parent.parent / ".cache" / "contrib"
REQUIREMENTS: Final = (
    "opentelemetry-instrumentation-aiokafka==0.66b1",
    "opentelemetry-instrumentation-confluent-kafka==0.66b1",
    "opentelemetry-instrumentation-kafka-python==0.66b1",
)


def folder() -> Path:
    """Return the folder, filling it on first use (seconds, from the package index).

    Raises CalledProcessError when it cannot be filled; nothing half done is taken for whole the next time.
    """
    found = CACHE / hashlib.sha256("\n".join(REQUIREMENTS).encode()).hexdigest()[:12]
    if not (found / "complete").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(found)]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        (found / "complete").touch()
    return found

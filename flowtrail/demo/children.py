"""The processes that a run of the demo is made of: started, watched and ended here, and never left behind.

A child keeps the read end of a pipe as its standard input and ends when the other end is closed. So it also ends when
this process is killed, on every platform.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

CLOSED_WITHIN_S: Final = 4.0
# What a person has set for services and a collector of their own: a store, a sampler, an exporter's credentials. None
# of it is meant for the demo, which would write into that store.
_NOT_INHERITED: Final = ("FLOWTRAIL_", "OTEL_")


class Child:
    """A Python process that runs `module`; what it prints goes into `{logs}/{name}.log`.

    It gets `environment`, and of this process's own what configures neither Flowtrail nor OpenTelemetry.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        self._log_path = logs / f"{name}.log"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_inherited(os.environ), **environment},
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends the others in order
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def write(self, line: bytes) -> None:
        """Give it a line on its standard input. Raises BrokenPipeError when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 10) -> None:
        """Wait until it has ended; after `timeout_s` it is killed."""
        assert self._process.stdin is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()

    def last_words(self, lines: int = 15) -> str:
        """Return the end of what it printed."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])

    def __repr__(self) -> str:
        state = "running" if self.is_alive else f"ended with {self._process.returncode}"
        return f"<Child {self.name} {self.pid} {state}>"


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.upper().startswith(_NOT_INHERITED)}


class EndedByItself(Exception):
    """A process of the demo ended that nobody had told to; the message ends with its last words."""

    def __init__(self, child: Child) -> None:
        super().__init__(f"{child.name} ended by itself\n{child.last_words()}")


def end_together(children: Sequence[Child], timeout_s: float = CLOSED_WITHIN_S) -> None:
    """Ask all to end, wait, and kill those that have not after `timeout_s`."""
    for child in children:
        child.terminate()
    deadline_s = time.monotonic() + timeout_s
    for child in children:
        child.wait(max(0.0, deadline_s - time.monotonic()))


def end_with_parent() -> None:
    """End this process as by SIGTERM when whoever started it is gone; hard after ten seconds."""

    def wait_for_end() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os._exit(1)

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()

"""Apache Kafka for tests: one KRaft node from Maven's jars, on free ports of the loopback interface.

with KafkaBroker() as broker:
    KafkaProducer(bootstrap_servers=broker.bootstrap_servers)

`python -m tests.kafka.broker` runs one for a person until Ctrl-C.
"""

import base64
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO, Final

HERE: Final = Path(__file__).parent
POM: Final = HERE / "pom.xml"
CACHE: Final = HERE.parent.parent / ".cache" / "kafka"

# A small heap and the first compiler only: ready in two seconds instead of five.
JVM_OPTIONS: Final = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

HOW_TO_GET: Final = (
    "Apache Kafka needs Java 17 and Maven: `apt-get install default-jre-headless maven` on Debian, "
    "`brew install openjdk maven` on macOS"
)

_BOUND = re.compile(r"Awaiting socket connections on [\w.]+:(\d+)\.")
_LISTENER = re.compile(r"endpoint : ListenerName\((\w+)\)")


class KafkaMissing(Exception):
    """Java or Maven is not on this machine; the message says how to get it."""


class KafkaBroker:
    """Starts on entering the `with` block, stops and deletes its data on leaving it.

    `bootstrap_servers`, `cluster_id` and `version` are known inside the block. Raises KafkaMissing without Java or
    Maven, RuntimeError with the end of the broker's log when it dies at the start, TimeoutError when it is not
    ready after `timeout_s`.
    """

    def __init__(self, timeout_s: float = 60) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self.bootstrap_servers = ""
        self.cluster_id = ""
        self.version = ""

    def start(self) -> "KafkaBroker":
        """Fetch the jars if need be, format a new cluster, start it, and return when it answers."""
        libraries = fetch_jars()
        self._folder = Path(tempfile.mkdtemp(prefix="flowtrail-kafka-"))
        try:
            self._start(libraries, self._folder)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout_s: float = 20) -> None:
        """Stop the broker (SIGTERM, then SIGKILL) and delete its data; stopping twice is harmless."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder)

    def __enter__(self) -> "KafkaBroker":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"{self.version} at {self.bootstrap_servers}" if self._process is not None else "not running"
        return f"<KafkaBroker {state}>"

    def _start(self, libraries: Path, folder: Path) -> None:
        self.version = _version(libraries)
        self.cluster_id = _new_cluster_id()
        configuration = folder / "server.properties"
        configuration.write_text(f"{(HERE / 'server.properties').read_text()}\nlog.dirs={folder / 'data'}\n")
        log = folder / "broker.log"
        with log.open("wb") as output:
            subprocess.run(
                _java(libraries, "kafka.tools.StorageTool", *_format(self.cluster_id, configuration)),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._process = _spawn(_java(libraries, "kafka.Kafka", str(configuration)), output)
        self.bootstrap_servers = f"127.0.0.1:{self._port_when_ready(log)}"

    def _port_when_ready(self, log: Path) -> int:
        """Read the log until the broker says that it started; return the port of the PLAINTEXT listener."""
        assert self._process is not None
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            text = log.read_text(errors="replace")
            if "Kafka Server started" in text:
                # The ports come in the order of the listeners, and each listener is named once, on its start.
                ports = dict(zip(_LISTENER.findall(text), _BOUND.findall(text), strict=True))
                return int(ports["PLAINTEXT"])
            if self._process.poll() is not None:
                raise RuntimeError(f"Apache Kafka died at its start:\n{text[-3000:]}")
            time.sleep(0.05)
        raise TimeoutError(f"Apache Kafka was not ready after {self._timeout_s} s:\n{log.read_text()[-3000:]}")


def fetch_jars() -> Path:
    """Return a folder with the broker's jars; Maven fetches them the first time, and again when the pom changes."""
    for program, arguments in (("java", ["-version"]), ("mvn", ["-version"])):
        # macOS has a `java` that only says where to get one.
        if shutil.which(program) is None or subprocess.run([program, *arguments], capture_output=True).returncode:
            raise KafkaMissing(HOW_TO_GET)
    libraries = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if libraries.is_dir():
        return libraries
    CACHE.mkdir(parents=True, exist_ok=True)
    fetched = Path(tempfile.mkdtemp(dir=CACHE, prefix="fetching-"))
    try:
        copy = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}")
        maven = subprocess.run(["mvn", "-B", "-q", "-f", str(POM), *copy], capture_output=True, text=True)
        if maven.returncode:
            raise RuntimeError(f"Maven could not fetch Apache Kafka:\n{maven.stdout[-3000:]}{maven.stderr[-3000:]}")
        if not libraries.is_dir():  # two runs may fetch at the same time: the first one's folder stays
            fetched.rename(libraries)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    return libraries


def _version(libraries: Path) -> str:
    (jar,) = libraries.glob("kafka_2.13-*.jar")
    return jar.stem.removeprefix("kafka_2.13-")


def _new_cluster_id() -> str:
    """A UUID in Kafka's spelling: 22 characters of URL-safe base64, the first of which must not look like an option."""
    while True:
        spelled = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not spelled.startswith("-"):
            return spelled


def _format(cluster_id: str, configuration: Path) -> tuple[str, ...]:
    return ("format", "--standalone", "-t", cluster_id, "-c", str(configuration))


def _java(libraries: Path, main_class: str, *arguments: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile=file:{HERE / 'log4j2.properties'}"
    return ["java", *JVM_OPTIONS, logging, "-cp", f"{libraries}/*", main_class, *arguments]


def _spawn(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the broker in a process group of its own: a Ctrl-C at the terminal is for the tests, which then stop it."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def main() -> int:
    """Run a broker until Ctrl-C or SIGTERM; the exit status is 1 when it cannot be had."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with KafkaBroker() as broker:
            print(f"Apache Kafka {broker.version} at {broker.bootstrap_servers}; Ctrl-C stops it")
            stopped.wait()
    except KafkaMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

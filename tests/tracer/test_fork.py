"""A child process exports its own spans, however it was made and however it ends."""

import http.server
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HEAD = """
import multiprocessing, os, types
from concurrent.futures import ProcessPoolExecutor
import flowtrail
from flowtrail.tracer.tracing import CHAIN

def work(topic):
    record = types.SimpleNamespace(topic=topic, partition=0, offset=1, key=None, value=b"", headers=[])
    with flowtrail.process(record): pass

def set_up_and_work(topic):
    flowtrail.set_up(service="till")
    work(topic)
"""


class Receiver:
    """Takes OTLP spans over HTTP, and counts their names."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.connections = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as a collector leaves them

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.names.update(
                    span.name
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a test's output is its own."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


def run(tmp_path: Path, receiver: Receiver, program: str) -> dict[str, int]:
    """Run a program of several processes; return how many spans of each name came."""
    path = tmp_path / "program.py"
    path.write_text(HEAD + program)
    variables = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(path)],  # of forking with threads
        env=variables | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return dict(receiver.names)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_exports_what_it_made(tmp_path: Path, receiver: Receiver, method: str) -> None:
    found = run(
        tmp_path,
        receiver,
        "flowtrail.set_up(service='till')\n"
        "if __name__ == '__main__':\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=work, args=('child',))\n"
        "    child.start(); child.join(); work('parent')",
    )
    assert found == {"process child": 1, "process parent": 1}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_that_sets_up_for_itself_does_too(tmp_path: Path, receiver: Receiver, method: str) -> None:
    found = run(
        tmp_path,
        receiver,
        "if __name__ == '__main__':\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=set_up_and_work, args=('child',))\n"
        "    child.start(); child.join()",
    )
    assert found == {"process child": 1}


def test_a_pools_workers_export_what_they_made(tmp_path: Path, receiver: Receiver) -> None:
    found = run(
        tmp_path,
        receiver,
        "flowtrail.set_up(service='till')\n"
        "pool = multiprocessing.get_context('fork').Pool(2)\n"
        "pool.map(work, ['pool'] * 10, chunksize=1); pool.close(); pool.join()\n"
        "with ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as executor:\n"
        "    list(executor.map(work, ['executor'] * 10))",
    )
    assert found == {"process pool": 10, "process executor": 10}


def test_a_childs_child_exports_what_it_made(tmp_path: Path, receiver: Receiver) -> None:
    found = run(
        tmp_path,
        receiver,
        "flowtrail.set_up(service='till')\n"
        "fork = multiprocessing.get_context('fork')\n"
        "def parent():\n"
        "    work('child'); child = fork.Process(target=work, args=('grandchild',)); child.start(); child.join()\n"
        "child = fork.Process(target=parent); child.start(); child.join()",
    )
    assert found == {"process child": 1, "process grandchild": 1}


def test_a_child_that_is_forked_while_its_parent_plans_has_spans_and_can_be_set_up(
    tmp_path: Path, receiver: Receiver
) -> None:
    found = run(
        tmp_path,
        receiver,
        "from flowtrail.tracer.tracing import TRACING\n"
        "flowtrail.set_up(service='till')\n"
        "with TRACING._planning:\n"
        "    child = multiprocessing.get_context('fork').Process(target=set_up_and_work, args=('child',))\n"
        "    child.start(); child.join(20)\n"
        "assert child.exitcode == 0, child.exitcode\n"
        "work('parent')",
    )
    assert found == {"process child": 1, "process parent": 1}


def test_multiprocessing_may_be_imported_after_the_set_up(tmp_path: Path, receiver: Receiver) -> None:
    found = run(
        tmp_path,
        receiver,
        "import sys\n"
        "for name in [name for name in sys.modules if name.split('.')[0] == 'multiprocessing']: del sys.modules[name]\n"
        "flowtrail.set_up(service='till')\n"
        "assert 'multiprocessing' not in sys.modules\n"
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=work, args=('child',))\n"
        "child.start(); child.join()",
    )
    assert found == {"process child": 1}


def test_a_forked_send_without_an_answer_is_told_by_the_process_that_made_it(
    tmp_path: Path, receiver: Receiver
) -> None:
    found = run(
        tmp_path,
        receiver,
        "from flowtrail.tracer.clients.known import Known, known_of\n"
        "from flowtrail.tracer.record import Client\n"
        "class Fake(Known):\n"
        "    def client(self): return Client('c')\n"
        "class Producer: pass\n"
        "producer = Producer()\n"
        "def send(topic):\n"
        "    known_of(producer, lambda _: Fake()).unanswered.add(CHAIN.send(Client('c'), topic, b'k', b'v', None))\n"
        "flowtrail.set_up(service='till'); send('parent')\n"
        "child = multiprocessing.get_context('fork').Process(target=send, args=('child',))\n"
        "child.start(); child.join()",
    )
    assert found == {"send child": 1, "send parent": 1}


def test_parent_and_child_do_not_share_a_connection(tmp_path: Path, receiver: Receiver) -> None:
    found = run(
        tmp_path,
        receiver,
        "from opentelemetry import trace\n"
        "flowtrail.set_up(service='till'); work('parent'); flush = trace.get_tracer_provider().force_flush; flush()\n"
        "def many(topic):\n"
        "    for _ in range(50): work(topic); flush()\n"
        "children = [multiprocessing.get_context('fork').Process(target=many, args=('child',)) for _ in range(3)]\n"
        "for child in children: child.start()\n"
        "many('parent')\n"
        "for child in children: child.join()",
    )
    assert found == {"process child": 150, "process parent": 51}
    assert receiver.connections == 4

"""`flowtrail ui` says where the pages are, and ends when it is told to."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest


@pytest.fixture
def pages() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "flowtrail", "ui", "--port", "0"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield started
    started.kill()
    started.communicate(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_pages_are_where_it_says_until_it_is_told_to_end(
    pages: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert pages.stderr is not None
    said = next(re.finditer(r"pages on (http://\S+), asking http://127.0.0.1:8680", pages.stderr.readline()))
    with urllib.request.urlopen(said[1], timeout=20) as page:
        assert page.status == 200
    pages.send_signal(number)
    assert pages.wait(20) == 0
    assert "Traceback" not in pages.stderr.read()


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "flowtrail", "ui", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"flowtrail: the pages cannot be served on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr

"""One browser, one UI server and one fake collector for all browser tests."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Route, sync_playwright
from waitress.server import create_server

from flowtrail.ui.app import make_app

from .fake_collector import FakeCollector

CHROMIUM: Final = (
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE_MS: Final = 30_000.0  # other tests may hold the processor


def chromium() -> str | None:
    """The browser: FLOWTRAIL_TEST_CHROMIUM, one on the path, or one where systems put it."""
    named = os.environ.get("FLOWTRAIL_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return named or next((path for path in CHROMIUM if Path(path).exists()), None)


@dataclass
class Visit:
    """A page, and what must not have happened on it."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, waits_for: str = "main h1") -> Page:
        """Go to a path of the UI and wait until it is drawn."""
        self.page.goto(self.base + path)
        self.page.wait_for_selector(waits_for)
        return self.page


@pytest.fixture(scope="session")
def running_collector() -> Iterator[FakeCollector]:
    with FakeCollector() as collector:
        yield collector


@pytest.fixture
def collector(running_collector: FakeCollector) -> Iterator[FakeCollector]:
    """The collector, for a test that makes it answer otherwise; afterwards it is as it was."""
    yield running_collector
    running_collector.is_empty = running_collector.is_away = running_collector.extra_node = False


@pytest.fixture(scope="session")
def ui_url(running_collector: FakeCollector) -> Iterator[str]:
    server = create_server(make_app(running_collector.url).server, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, name="ui", daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("Chromium is missing: `apt-get install chromium` on Debian, `brew install chromium` on macOS")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, ui_url: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh page, 1440 × 900 unless the test is given another `size`; errors and outside requests fail the test."""
    width, height = getattr(request, "param", (1440, 900))
    context = browser.new_context(viewport={"width": width, "height": height})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=ui_url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    made = Visit(page, ui_url)
    own = urlsplit(ui_url).netloc

    def only_home(route: Route) -> None:
        if urlsplit(route.request.url).netloc in (own, ""):
            route.continue_()
        else:
            made.complaints.append(f"asked {route.request.url}")
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            made.complaints.append(message.text)

    def fell(error: Error) -> None:
        made.complaints.append(str(error))

    page.route("**/*", only_home)
    page.on("console", listen)
    page.on("pageerror", fell)
    yield made
    context.close()
    assert made.complaints == []

"""kafka-python leaves it to the garbage collector to close some of its sockets; that is no failure of a test here."""

import gc
from collections.abc import Iterator

import pytest

from flowtrail.tracer.clients.waiting_events import WAITING

LEFT_SOCKETS = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.filterwarnings(LEFT_SOCKETS))


@pytest.fixture(autouse=True)
def let_rebalances_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What befell one test's consumer is not told in the midst of another test."""
    monkeypatch.setattr(WAITING, "wait_s", 3600.0)


@pytest.fixture(scope="module", autouse=True)
def leave_no_sockets() -> Iterator[None]:
    """Collect what a module left, so that no other module's test has it."""
    yield
    gc.collect()

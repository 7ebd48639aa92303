"""One embedded engine for the whole test run, and a database of its own for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowtrail.collector.store.connection import Store, open_store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def store_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN that every store of this process shares: the engine holds one path. It stays open between the tests."""
    path: Path = tmp_path_factory.mktemp("engine")
    dsn = f"chdb://{path}"
    keeper = open_store(dsn, "keeper")
    yield dsn
    keeper.close()


@pytest.fixture
def store(store_dsn: str) -> Iterator[Store]:
    """An empty store."""
    opened = open_store(store_dsn, f"test_{next(_numbers)}")
    yield opened
    opened.command(f"DROP DATABASE {opened.database} SYNC")
    opened.close()

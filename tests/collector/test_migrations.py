"""A store reaches the program's schema from wherever it stands, also after a crash half-way."""

from datetime import UTC, datetime

import pytest

from flowtrail.collector.store.connection import Store, open_store
from flowtrail.collector.store.migrations import Migration, StoreTooNew, migrate, migrations, statements

from .otlp_bodies import START_NS, body, process, span


def test_the_files_are_numbered_without_a_gap() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_statement_ends_with_a_semicolon_at_the_end_of_a_line() -> None:
    assert statements("-- a; comment;\nSELECT 1, -- one;\n  ';' ;\n\nSELECT 2;") == ("SELECT 1,\n  ';'", "SELECT 2")


def test_opening_again_changes_nothing(store: Store, store_dsn: str) -> None:
    open_store(store_dsn, store.database).close()
    rows = store.query(
        f"SELECT version, count() FROM {store.database}.schema_version GROUP BY version ORDER BY version"
    )
    assert rows == [(migration.version, 1) for migration in migrations()]


def test_every_migration_can_run_again_from_any_statement(store: Store) -> None:
    class Crash(Exception):
        pass

    everything = sum(len(migration.statements) for migration in migrations())
    for stop in (3, everything // 2, everything):
        left = stop

        def crashing(sql: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash
            store.command(sql)

        store.command(f"TRUNCATE TABLE {store.database}.schema_version")
        with pytest.raises(Crash):
            migrate(store.database, crashing, store.query)
    assert migrate(store.database, store.command, store.query) == migrations()[-1].version
    views = store.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND engine = 'MaterializedView'",
        {"database": store.database},
    )
    assert views == [(6,)]


def test_a_store_of_the_first_schema_keeps_its_events_and_counts_on(store_dsn: str) -> None:
    opened = open_store(store_dsn, "of_the_first_schema")
    database = opened.database
    try:
        opened.command(f"DROP DATABASE {database} SYNC")
        migrate(database, opened.command, opened.query, migrations()[:2])
        columns = [
            "operation",
            "system",
            "topic",
            "group_name",
            "partition",
            "offset",
            "start",
            "duration_ns",
            "service",
        ]
        at = datetime.fromtimestamp(START_NS / 1e9, UTC)
        opened.insert("spans", columns, [("process", "kafka", "orders", "workers", 0, 0, at, 1023, "orders")])
        migrate(database, opened.command, opened.query)
        left = {**process("orders", 0, 1, "workers"), "flowtrail.process.unfinished": True}
        opened.load(body(span(left, duration_ns=10**13)), "after")
        opened.load(body(span(process("orders", 0, 2, "workers"), duration_ns=1023)), "later")
        assert opened.query(f"SELECT sum(messages), sumMap(durations) FROM {database}.edges") == [(3, {40: 2})]
        assert opened.query(f"SELECT offset, is_unfinished FROM {database}.events ORDER BY offset") == [
            (0, False),
            (1, True),
            (2, False),
        ]
    finally:
        opened.command(f"DROP DATABASE {database} SYNC")
        opened.close()


def test_a_store_of_a_newer_program_is_refused_and_left_alone(store: Store) -> None:
    newer = [*migrations(), Migration(9999, "9999_future.sql", ())]
    migrate(store.database, store.command, store.query, newer)
    with pytest.raises(StoreTooNew, match="9999"):
        migrate(store.database, store.command, store.query)

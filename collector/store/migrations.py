"""Brings a store's tables to the schema of this program.

Migrations are the numbered files in `schema/`, applied in order; `schema_version` holds those that are done. Every
statement can run again: ClickHouse has no transaction over DDL, so after a crash half-way the same file is run anew.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class StoreTooNew(Exception):
    """The store was written by a newer program; this one must not touch it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, its statements in order (with `{database}` still in them)."""

    version: int
    name: str
    statements: tuple[str, ...]


def migrations() -> list[Migration]:
    """Return every migration that ships with the program, oldest first."""
    folder = resources.files("flowtrail.collector.store") / "schema"
    found = [
        Migration(int(match[1]), file.name, statements(file.read_text("utf-8")))
        for file in folder.iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    return sorted(found, key=lambda migration: migration.version)


def statements(text: str) -> tuple[str, ...]:
    """Split a file: a statement ends with a semicolon at the end of a line. Comments go."""
    code = "\n".join(line.split("--", 1)[0].rstrip() for line in text.splitlines())
    return tuple(part.strip() for part in re.split(r";\n|;$", code) if part.strip())


def migrate(
    database: str,
    command: Callable[[str], object],
    query: Callable[[str], list[tuple[object, ...]]],
    known: list[Migration] | None = None,
) -> int:
    """Apply what is missing and return the schema's version. Safe to repeat, also after a crash half-way.

    Raises StoreTooNew when the store holds a migration that this program does not know.
    """
    known = migrations() if known is None else known
    command(f"CREATE DATABASE IF NOT EXISTS {database}")
    command(
        f"CREATE TABLE IF NOT EXISTS {database}.schema_version (version UInt32, name String, applied DateTime)"
        " ENGINE = MergeTree ORDER BY version"
    )
    done = {int(str(version)) for (version,) in query(f"SELECT DISTINCT version FROM {database}.schema_version")}
    newest = known[-1].version
    if done and max(done) > newest:
        raise StoreTooNew(
            f"the store has schema version {max(done)}, this Flowtrail knows versions up to {newest}: "
            "run a newer Flowtrail, or give it another store"
        )
    for migration in known:
        if migration.version in done:
            continue
        for statement in migration.statements:
            command(statement.replace("{database}", database))
        command(f"INSERT INTO {database}.schema_version VALUES ({migration.version}, '{migration.name}', now())")
    return newest

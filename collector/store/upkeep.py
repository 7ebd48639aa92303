"""What the store's tables take, whatever their schema is."""

from dataclasses import dataclass

from .connection import Store


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table that holds something: its rows, bytes on the disk, and parts."""

    table: str
    rows: int
    size_bytes: int
    parts: int


def sizes(store: Store) -> list[TableSize]:
    """Return every table of the store that has parts, by name. Raises StoreError."""
    rows = store.query(
        "SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts"
        " WHERE active AND database = {database:String} GROUP BY table ORDER BY table",
        {"database": store.database},
    )
    return [TableSize(str(table), int(count), int(size), int(parts)) for table, count, size, parts in rows]

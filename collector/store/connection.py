"""The store's one door: ClickHouse, reached by a DSN.

chdb:///var/lib/flowtrail/store      the engine inside this process, data in that directory
https://user:password@host:8443      a server

Threads. A ClickHouse client answers one call at a time, so a `Store` keeps a few and lends each call one: any thread
may call any method, queries go on beside a load, and loads beside any number of queries. The embedded engine exists
once in a process and holds one path, for as long as any client of it is open; it belongs to one process at a time.
Tests share a path and take a database each.
"""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from .migrations import migrate

log = logging.getLogger(__name__)

# Loading takes one, each query that runs at the same time another. More than the cores would only queue inside.
MOST_CLIENTS: Final = 8
# One is kept for what writes: questions must not hold up what comes in.
MOST_QUERIES: Final = MOST_CLIENTS - 1

# Seconds that a query may run, and that one may wait for a client before.
QUERY_TIMEOUT_S: Final = 30
# Seconds that `close` waits for calls that still run.
CLOSE_TIMEOUT_S: Final = 10

_TIMEOUT_EXCEEDED: Final = 159  # of ClickHouse's ErrorCodes.cpp

# A span is identified by (trace_id, span_id) and may be stored twice until a merge: two requests may carry it.
# Append this to a SELECT over `spans` to see it once.
ONE_ROW_PER_SPAN: Final = "LIMIT 1 BY trace_id, span_id"

_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Codes of ClickHouse's ErrorCodes.cpp that blame the bytes, whatever the state of the store: trying again cannot help.
_PERMANENT_CODES: Final = {
    6,  # CANNOT_PARSE_TEXT
    25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
    27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
    32,  # ATTEMPT_TO_READ_AFTER_EOF: bytes that end too soon
    33,  # CANNOT_READ_ALL_DATA
    53,  # TYPE_MISMATCH
    69,  # ARGUMENT_OUT_OF_BOUND
    70,  # CANNOT_CONVERT_TYPE
    131,  # TOO_LARGE_STRING_SIZE
    349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    444,  # UNKNOWN_PROTOBUF_FORMAT: bytes that are no message
}
# A fault of the bytes that comes under the code of any bad argument, 36.
_IN_THE_BYTES: Final = "Invalid protobuf data"


class StoreError(Exception):
    """The store could not be opened, or did not do what it was asked. Trying later may help."""


class BadRequestBytes(StoreError):
    """The store cannot take these bytes, now or later."""


class TookTooLong(StoreError):
    """A query was ended after `QUERY_TIMEOUT_S`. A smaller question may be answered."""


class Store:
    """A migrated store. Made by `open_store`; safe to use from any thread until `close`.

    SQL names tables in full, `f"SELECT … FROM {store.database}.spans"`, and takes values as ClickHouse's own query
    parameters: `"… WHERE topic = {topic:String}"` with `{"topic": "orders"}`.
    """

    def __init__(self, dsn: str, database: str) -> None:
        self.database = database
        self._dsn = dsn
        self._lock = threading.Condition()
        self._idle: list[Client] = []
        self._clients = 0
        self._queries = 0
        self._is_closed = False
        self._load_settings: dict[str, Any] = {
            **_message_settings(dsn),
            # Keeps 0, "" and false apart from absent: an offset of 0 is real.
            "input_format_protobuf_oneof_presence": 1,
            # Written when the call returns; the default only queues.
            "async_insert": 0,
            # Spans of many days in one batch are slow, but must not fail it.
            "max_partitions_per_insert_block": 0,
        }

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT, empty when there are none. Raises TookTooLong, or another StoreError.

        FixedString comes as bytes, DateTime64 as a datetime in UTC cut to microseconds: ask for
        `toUnixTimestamp64Nano(start)` where nanoseconds matter.
        """
        with self._querying(), self._client() as client:
            try:
                answer = client.query(
                    sql, parameters=dict(parameters or {}), settings={"max_execution_time": QUERY_TIMEOUT_S}
                )
                return [tuple(row) for row in answer.result_rows]
            except DatabaseError as error:
                if error.code == _TIMEOUT_EXCEEDED:
                    raise TookTooLong(f"a query took longer than {QUERY_TIMEOUT_S} s") from error
                raise StoreError(str(error)) from error
            except ClickHouseError as error:
                raise StoreError(str(error)) from error

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows. Raises StoreError."""
        with self._client() as client:
            try:
                client.command(sql, parameters=dict(parameters or {}))
            except ClickHouseError as error:
                raise StoreError(str(error)) from error

    def insert(self, table: str, column_names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, written when this returns. No rows: nothing happens. Raises StoreError."""
        if not rows:
            return
        with self._client() as client:
            try:
                client.insert(
                    table,
                    rows,
                    column_names=list(column_names),
                    database=self.database,
                    settings={"async_insert": 0},
                )
            except ClickHouseError as error:
                raise StoreError(str(error)) from error

    def load(self, body: bytes, token: str) -> None:
        """Store the spans of one ExportTraceServiceRequest, or of several joined (which is one again).

        Exactly once for each token, in every table: a token that was loaded changes nothing, one that failed half-way
        is completed by the same call with the same bytes. Raises BadRequestBytes when the bytes are no such message
        (then nothing was written), StoreError otherwise.
        """
        settings = {
            **self._load_settings,
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }
        self._raw_insert(f"{self.database}.requests", body, settings)

    def _raw_insert(self, table: str, body: bytes, settings: dict[str, Any]) -> None:
        if not body:
            return
        with self._client() as client:
            try:
                client.raw_insert(table, insert_block=body, fmt="ProtobufSingle", settings=settings)
            except DatabaseError as error:
                if error.code in _PERMANENT_CODES or _IN_THE_BYTES in str(error):
                    raise BadRequestBytes(str(error)) from error
                raise StoreError(str(error)) from error
            except ClickHouseError as error:
                raise StoreError(str(error)) from error

    def keep_for_days(self, retention_days: int) -> None:
        """Drop what is older than this many days, by the span's own start; 0 keeps everything."""
        for table, time in (
            ("spans", "toDateTime(start)"),
            ("events", "toDateTime(start)"),
            ("links", "toDateTime(start)"),
            ("edges", "bucket"),
            ("rejected", "time"),
            ("group_offsets", "toDateTime(time)"),
            ("topic_offsets", "toDateTime(time)"),
            ("group_states", "toDateTime(time)"),
        ):
            [(ddl,)] = self.query(
                "SELECT create_table_query FROM system.tables"
                " WHERE database = {database:String} AND name = {table:String}",
                {"database": self.database, "table": table},
            )
            wanted = f"TTL {time} + toIntervalDay({retention_days})"
            if retention_days and wanted not in ddl:
                self.command(f"ALTER TABLE {self.database}.{table} MODIFY {wanted}")
            elif not retention_days and " TTL " in ddl:
                self.command(f"ALTER TABLE {self.database}.{table} REMOVE TTL")

    def close(self) -> None:
        """Close every client; calls that still run are waited for, up to `CLOSE_TIMEOUT_S`, and theirs close as they
        end. The embedded engine stops with its last client."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
            if not self._lock.wait_for(lambda: len(self._idle) == self._clients, CLOSE_TIMEOUT_S):
                log.warning("the store is closed under %d calls that still run", self._clients - len(self._idle))
            self._close_idle()

    @contextmanager
    def _querying(self) -> Iterator[None]:
        """Wait for one of the places that queries have. Raises StoreError when none gets free in time."""
        with self._lock:
            if not self._lock.wait_for(lambda: self._is_closed or self._queries < MOST_QUERIES, QUERY_TIMEOUT_S):
                raise StoreError(f"{MOST_QUERIES} queries are under way, and none ended within {QUERY_TIMEOUT_S} s")
            self._queries += 1
        try:
            yield
        finally:
            with self._lock:
                self._queries -= 1
                self._lock.notify_all()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        client = self._borrow()
        try:
            yield client
        finally:
            with self._lock:
                self._idle.append(client)
                if self._is_closed:
                    self._close_idle()
                self._lock.notify_all()

    def _borrow(self) -> Client:
        with self._lock:
            self._lock.wait_for(lambda: self._is_closed or self._idle or self._clients < MOST_CLIENTS)
            if self._is_closed:
                raise StoreError("the store is closed")
            if self._idle:
                return self._idle.pop()
            self._clients += 1
        try:
            return connect(self._dsn)
        except BaseException:
            with self._lock:
                self._clients -= 1
                self._lock.notify_all()
            raise

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
            self._clients -= 1


def connect(dsn: str) -> Client:
    """Return a client for one call at a time. Raises StoreError with what to do about it."""
    try:
        return clickhouse_connect.get_client(dsn=dsn)
    except ClickHouseError as error:
        # The engine prints why it cannot start, but does not tell its caller.
        hint = " (is another process using it, or is it not writable?)" if "EmbeddedServer" in str(error) else ""
        raise StoreError(f"cannot open the store {_without_password(dsn)}{hint}: {error}") from error


def open_store(dsn: str, database: str = "flowtrail") -> Store:
    """Open a store and bring its tables up to date.

    Raises StoreError when it cannot be reached or another process holds it, StoreTooNew when a newer Flowtrail wrote
    it, ValueError for a database name that is no plain identifier.
    """
    if not _DATABASE_NAME.fullmatch(database):
        raise ValueError(f"not a database name: {database!r}")
    store = Store(dsn, database)
    try:
        migrate(database, store.command, store.query)
    except BaseException:
        store.close()
        raise
    return store


def _message_settings(dsn: str) -> dict[str, Any]:
    """Return the settings that say what message the bytes are. A server gets the text; the embedded engine would write
    a text to the working directory, so it reads the file where it lies."""
    schema = resources.files("flowtrail.collector.store") / "schema" / "otlp.proto"
    if dsn.startswith("chdb:"):
        return {"format_schema": f"{schema}:Request"}
    return {
        "format_schema_source": "string",
        "format_schema": schema.read_text("utf-8"),
        "format_schema_message_name": "Request",
    }


def _without_password(dsn: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", dsn)

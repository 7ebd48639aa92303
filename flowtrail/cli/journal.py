"""`flowtrail journal`: what lies in a collector's journal, and reading it again.

Works on the data directory, whether its collector runs or not.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flowtrail.collector.journal.contract import Depth, JournalError
from flowtrail.collector.journal.inspection import JournalFile, JournalInfo, Kept
from flowtrail.collector.ownership import owner_of

from .asking import Exit, console, need, stop
from .figures import UNKNOWN, count, day_and_clock, duration, parse_duration_ms, printable

app = typer.Typer(help="Look into a collector's journal, and let it be read again.", no_args_is_help=True)

DATA_DIR_DEFAULT: Final = Path("flowtrail-data")
DataDir = Annotated[
    Path, typer.Option(envvar="FLOWTRAIL_DATA_DIR", help="The collector's data directory, where the journal lies.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_POLL_S: Final = 0.2
_WAIT_S: Final = 30.0
# What one request to an endpoint holds at most: 4 MiB is what most receivers take by default.
_MOST_BYTES: Final = 4 * 1024 * 1024
_KIB: Final = 1024


@app.command("info")
def info(data_dir: DataDir = DATA_DIR_DEFAULT, as_json: Json = False) -> None:
    """How much waits, how far each reader is, what was set aside and why."""
    with _opened(data_dir) as journal:
        found = journal.info()
    owner = owner_of(data_dir)
    now_ms = time.time() * 1e3
    if as_json:
        typer.echo(json.dumps({**_plain(found), "owner_pid": owner}))
        return
    out = console()
    out.print(f"journal {found.id} in {data_dir}", markup=False)
    out.print(f"held by process {owner}" if owner is not None else "no collector holds it", style="dim")
    out.print(f"waiting {_depth(found.waiting, now_ms)}")
    out.print(f"kept    {_depth(found.kept, now_ms)}")
    out.print(f"on disk {_bytes(found.file_bytes + found.log_bytes)}, last position {found.last}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("reader")
    for figure in ("cursor", "behind", "bytes", "oldest", "skipped", "set aside"):
        table.add_column(figure, justify="right", no_wrap=True)
    for reader in found.readers:
        table.add_row(
            Text(printable(reader.name), style="bold cyan"),
            str(reader.cursor),
            count(reader.behind.requests),
            _bytes(reader.behind.size_bytes),
            _age(reader.behind, now_ms),
            count(reader.skipped),
            count(sum(reader.set_aside.values())),
        )
    out.print(table)
    for reader in found.readers:
        if reader.is_to_rewind:
            out.print(Text(f"{printable(reader.name)} was asked to read again and has not begun yet", style="yellow"))
        for reason, requests in reader.set_aside.items():
            out.print(Text(f"{printable(reader.name)} set {count(requests)} aside: {printable(reason)}", style="red"))


@app.command("tail")
def tail(
    data_dir: DataDir = DATA_DIR_DEFAULT,
    last: Annotated[int, typer.Option(min=0, help="Begin with so many that are there already.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with those that come, until Ctrl-C.")] = True,
    as_json: Json = False,
) -> None:
    """Requests as they come: position, time, spans, bytes, services."""
    out = console()
    with _opened(data_dir) as journal:
        after = max(0, journal.last() - last)
        while True:
            for request in journal.requests(after):
                after = request.position.offset
                _print_request(request, out, as_json)
            if not follow:
                return
            time.sleep(_POLL_S)


@app.command("replay")
def replay(
    since: Annotated[
        str,
        typer.Option("--from", help="A position (17), how long ago (2h), a time (2026-11-22T22:54) or `oldest`."),
    ],
    data_dir: DataDir = DATA_DIR_DEFAULT,
    reader: Annotated[str, typer.Option(help="The reader whose cursor is set back: store, or export.")] = "store",
    to: Annotated[
        str | None,
        typer.Option(help="Send to this OTLP/HTTP endpoint instead, such as http://jaeger:4318/v1/traces."),
    ] = None,
) -> None:
    """Read again what the journal keeps: by one of its readers, or into another endpoint."""
    with _opened(data_dir) as journal:
        after = _position(journal, since)
        if to is not None:
            _send(journal, after, to)
            return
        try:
            before = journal.ask_to_rewind(reader, after)
            behind = journal.behind(reader)
        except KeyError:
            names = ", ".join(journal.readers()) or "none"
            stop(f"the journal has no reader {reader!r}; it has {names}", Exit.NOT_FOUND)
        if not journal.is_to_rewind(reader):
            console().print(f"{reader} has not read that far yet: {count(behind.requests)} requests lie before it")
            return
        again = journal.depth(before).requests
        owner = owner_of(data_dir)
        if owner is None:
            console().print(f"{reader} reads {count(again)} requests again once a collector starts on {data_dir}")
            return
        console().print(f"process {owner} reads {count(again)} requests again for {reader}, after position {before}")
        _watch(journal, reader, again)


@app.command("set-aside")
def set_aside(data_dir: DataDir = DATA_DIR_DEFAULT, as_json: Json = False) -> None:
    """What readers set aside since it was refused for good, and why."""
    with _opened(data_dir) as journal:
        found = journal.set_aside()
    out = console()
    for kept in found:
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        "position": str(kept.position),
                        "reader": kept.reader,
                        "reason": kept.reason,
                        "time_ms": kept.time_ms,
                        "bytes": len(kept.body),
                    }
                )
            )
            continue
        out.print(
            Text.assemble(
                (f"{kept.position}  ", "bold"),
                f"{day_and_clock(kept.time_ms)}  {printable(kept.reader)}  {_bytes(len(kept.body))}  ",
                (printable(kept.reason), "red"),
            )
        )
    if not found and not as_json:
        out.print("Nothing was set aside.")


@app.command("retry")
def retry(
    positions: Annotated[
        list[int] | None, typer.Argument(help="Positions, as `set-aside` lists them (default: all).")
    ] = None,
    data_dir: DataDir = DATA_DIR_DEFAULT,
    reader: Annotated[str | None, typer.Option(help="Only what this reader set aside.")] = None,
) -> None:
    """Try again what was set aside; what is refused again is set aside again."""
    with _opened(data_dir) as journal:
        asked = journal.ask_to_retry(reader, positions or ())
    if not asked:
        stop("nothing of that is set aside, or it is being tried again already", Exit.NOT_FOUND)
    when = "now" if owner_of(data_dir) is not None else f"once a collector starts on {data_dir}"
    console().print(f"{count(asked)} {'request is' if asked == 1 else 'requests are'} tried again {when}")


@app.command("salvage")
def salvage(data_dir: DataDir = DATA_DIR_DEFAULT) -> None:
    """Take what is whole out of a damaged journal into a new one; the collector must be stopped."""
    from flowtrail.collector.journal.salvage import salvage as salvage_file
    from flowtrail.collector.ownership import AlreadyOwned, Ownership

    path = _path(data_dir)
    if not path.exists():
        stop(f"there is no journal {path}", Exit.NOT_FOUND)
    try:
        with Ownership(data_dir):
            done = salvage_file(path, int(time.time() * 1e3))
    except AlreadyOwned as error:
        stop(str(error), Exit.BAD_USE)
    except (JournalError, OSError) as error:
        stop(str(error), Exit.BROKEN)
    console().print(
        f"{count(done.whole)} requests are whole, {count(done.set_aside)} were set aside, {count(done.lost)} are lost;"
        f" the damaged file is {done.damaged}",
        markup=False,
    )


def spans_and_services(body: bytes) -> tuple[int, dict[str, int]] | None:
    """How many spans a request holds, in all and of each service; None when it cannot be read."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return None
    services: Counter[str] = Counter()
    for resource_spans in request.resource_spans:
        names = [a.value.string_value for a in resource_spans.resource.attributes if a.key == "service.name"]
        services[names[0] if names else "unknown"] += sum(len(scope.spans) for scope in resource_spans.scope_spans)
    return sum(services.values()), dict(services)


def from_text(text: str, now_ms: float) -> tuple[int | None, float | None]:
    """A position to read after, or a time in ms: of `17`, `oldest`, `2h` ago, `2026-11-22T22:54`. Raises ValueError."""
    if text == "oldest":
        return 0, None
    if re.fullmatch(r"\d+", text):
        # A request at this very position is meant to come too.
        return max(0, int(text) - 1), None
    try:
        return None, datetime.fromisoformat(text).timestamp() * 1e3
    except ValueError:
        pass
    try:
        return None, now_ms - parse_duration_ms(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no position (17), no duration (2h) and no time (2026-11-22T22:54)") from error


def _position(journal: JournalFile, text: str) -> int:
    try:
        position, time_ms = from_text(text, time.time() * 1e3)
    except ValueError as error:
        stop(str(error), Exit.BAD_USE)
    if position is not None:
        return position
    assert time_ms is not None
    return journal.before(time_ms)


def _send(journal: JournalFile, after: int, url: str) -> None:
    """Send what lies after a position to an endpoint, joined as an exporter joins it."""
    need("collector", ("requests",))
    from flowtrail.collector.exporters.otlp_http import OtlpHttpDestination
    from flowtrail.collector.journal.delivery import Refused, Unavailable

    destination = OtlpHttpDestination(url)

    def refused_of(batch: list[Kept]) -> int:
        """Send a batch, one by one where it is refused together: one bad request spoils no others."""
        try:
            destination.deliver(b"".join(request.body for request in batch), "")
        except Refused:
            return 1 if len(batch) == 1 else sum(refused_of([request]) for request in batch)
        return 0

    taken = refused = 0
    with _progress() as progress:
        task = progress.add_task(f"to {url}", total=journal.depth(after).requests)
        for batch in _batches(journal.requests(after)):
            try:
                refused += refused_of(batch)
            except Unavailable as error:
                going_on = f"go on with --from {batch[0].position}"
                stop(f"{error}; {count(taken - refused)} requests were sent: {going_on}", Exit.NO_COLLECTOR)
            taken += len(batch)
            progress.update(task, completed=taken)
    console().print(
        f"{count(taken - refused)} requests were sent" + (f", {count(refused)} were refused" if refused else "")
    )
    if refused:
        raise typer.Exit(Exit.BROKEN)


def _batches(requests: Iterator[Kept]) -> Iterator[list[Kept]]:
    batch: list[Kept] = []
    size_bytes = 0
    for request in requests:
        if batch and size_bytes + len(request.body) > _MOST_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(request)
        size_bytes += len(request.body)
    if batch:
        yield batch


def _watch(journal: JournalFile, reader: str, again: int) -> None:
    """Show how a reader that was set back catches up."""
    begun_s = time.monotonic()
    with _progress() as progress:
        task = progress.add_task(reader, total=again)
        while journal.is_to_rewind(reader):
            if time.monotonic() - begun_s > _WAIT_S:
                stop(f"{reader} has not begun within {_WAIT_S:g} s: does its destination answer?", Exit.NO_COLLECTOR)
            time.sleep(_POLL_S)
        while left := journal.behind(reader).requests:
            progress.update(task, completed=max(0, again - left))
            time.sleep(_POLL_S)
        progress.update(task, completed=again)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
    )


@contextmanager
def _opened(data_dir: Path) -> Iterator[JournalFile]:
    """The journal for the block; what is wrong with it ends the command with a sentence and a status."""
    path = _path(data_dir)
    if not path.exists():
        stop(f"there is no journal {path}; --data-dir says where the collector keeps its own", Exit.NOT_FOUND)
    try:
        with JournalFile(path) as journal:
            yield journal
    except JournalError as error:
        owner = owner_of(data_dir)
        stop(str(error) + (f" (process {owner} holds it)" if owner is not None else ""), Exit.BROKEN)


def _path(data_dir: Path) -> Path:
    return data_dir / "journal.sqlite"


def _print_request(request: Kept, out: Console, as_json: bool) -> None:
    told = spans_and_services(request.body)
    spans, services = told if told is not None else (None, {})
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "position": str(request.position),
                    "time_ms": request.time_ms,
                    "bytes": len(request.body),
                    "spans": spans,
                    "services": services,
                }
            )
        )
        return
    named = ", ".join(f"{printable(name)} {count(number)}" for name, number in services.items())
    out.print(
        Text.assemble(
            (f"{request.position}  ", "bold"),
            (f"{day_and_clock(request.time_ms)}  ", "dim"),
            f"{count(spans)} spans  {_bytes(len(request.body))}  ",
            (named or UNKNOWN, "cyan"),
        )
    )


def _plain(found: JournalInfo) -> dict[str, Any]:
    """As JSON: positions as text, everything else as it is."""
    plain = asdict(found)
    plain["last"] = str(found.last)
    for told, reader in zip(plain["readers"], found.readers, strict=True):
        told["cursor"] = str(reader.cursor)
    return plain


def _depth(depth: Depth, now_ms: float) -> str:
    told = f"{count(depth.requests)} requests, {_bytes(depth.size_bytes)}"
    return f"{told}, oldest {_age(depth, now_ms)}" if depth.requests else told


def _age(depth: Depth, now_ms: float) -> str:
    return UNKNOWN if depth.oldest_ms is None else duration(max(0.0, now_ms - depth.oldest_ms))


def _bytes(size_bytes: float) -> str:
    """`840 B`, `3.2 KiB`, `1 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= _KIB
    return f"{size_bytes:.3g} GiB"

"""Asking the collector from a command: its address, its answer as JSON, and its errors as exit statuses."""

import io
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from importlib.util import find_spec
from typing import IO, Annotated, Final, NoReturn, TextIO, cast

import typer
from rich.console import Console

from flowtrail.client import DEFAULT_URL, Client, CollectorError, NotFound

from .figures import parse_duration_ms


class Exit(IntEnum):
    """Exit statuses of every command."""

    FINE = 0
    BROKEN = 1  # `why`: the flow failed or is stuck; `demo`: a fault was not explained, or something is missing
    BAD_USE = 2
    NO_COLLECTOR = 3  # not reached, or it could not answer
    NOT_FOUND = 4
    INTERRUPTED = 130


Url = Annotated[str, typer.Option(envvar="FLOWTRAIL_URL", help="Where the collector's API answers.")]
Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")]
Last = Annotated[str | None, typer.Option(help="Look at the last 15m, 2h, 1d … (default: the API's own)")]

URL_DEFAULT = DEFAULT_URL

_LONGEST_SEARCH: Final = 1000
_FILE_COLUMNS: Final = 160
_BLANKS_AT_THE_END: Final = re.compile(r" +(?=\n)")


@contextmanager
def asking(url: str) -> Iterator[Client]:
    """A client for the block; an error of the collector ends the command with a sentence and a status."""
    if not re.match(r"https?://[^/]", url):
        stop(f"{url!r} is no address of a collector; it looks like {DEFAULT_URL}", Exit.BAD_USE)
    try:
        with Client(url) as client:
            yield client
    except NotFound as error:
        stop(str(error), Exit.NOT_FOUND)
    except CollectorError as error:
        stop(str(error), Exit.BAD_USE if error.status == 400 else Exit.NO_COLLECTOR)


def print_json(client: Client) -> None:
    """Print the body of the last answer, byte for byte."""
    sys.stdout.write(client.last_answer.decode() + "\n")


def console() -> Console:
    """Standard output, without guessing at colours for numbers and paths.

    What goes to a file or another program is as wide as it needs to be, and has no blanks at the ends of its lines.
    """
    if sys.stdout.isatty():
        return Console(highlight=False)
    trimmed = cast("IO[str]", _Trimmed(sys.stdout))  # all of it that a console uses
    return Console(highlight=False, file=trimmed, width=None if "COLUMNS" in os.environ else _FILE_COLUMNS)


class _Trimmed(io.TextIOBase):
    """Hands text on without the blanks that fill a table's cells up."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute of the class above, though read alone
        return self._out.encoding

    def write(self, text: str) -> int:
        return self._out.write(_BLANKS_AT_THE_END.sub("", text))

    def flush(self) -> None:
        self._out.flush()


def stop(sentence: str, status: Exit) -> NoReturn:
    """End the command with one sentence on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"flowtrail: {sentence}", markup=False, style="red")
    raise typer.Exit(status)


def need(extra: str, modules: Sequence[str]) -> None:
    """End the command when a module that it needs is not installed, and name the extra that brings it."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        stop(
            f"this command needs more than is installed ({', '.join(missing)} is missing); "
            f"in a clone of Flowtrail, get it with: pip install '.[{extra}]'",
            Exit.BAD_USE,
        )


def began_ms(last: str | None) -> float | None:
    """The time that lies `last` ago in ms since the epoch; None when nothing was asked."""
    if last is None:
        return None
    try:
        span_ms = parse_duration_ms(last)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--last") from error
    if span_ms == 0:
        raise typer.BadParameter("nothing happens in no time; write it like 15m, 2h or 1d", param_hint="--last")
    return time.time() * 1e3 - span_ms


def refuse_what_nobody_can_search(text: str | None, name: str) -> None:
    """End the command when a text is empty or longer than what the API takes; None was not typed."""
    if text is not None and not 0 < len(text) <= _LONGEST_SEARCH:
        raise typer.BadParameter(f"1 to {_LONGEST_SEARCH} characters can be searched for", param_hint=name)

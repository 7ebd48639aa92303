"""`flowtrail collect`: the collector, with one option for each of its settings.

The options are made from the settings, so none can be forgotten: `api_port` is `--api-port` and `FLOWTRAIL_API_PORT`.
"""

import inspect
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, get_origin

import typer
from pydantic.fields import FieldInfo

from flowtrail.collector.configuration import BadConfiguration, configure, environment_name, option_name, shown
from flowtrail.collector.settings import Settings
from flowtrail.tracer.configuration import VARIABLES

from .asking import Exit, need, stop

log = logging.getLogger(__name__)

# Shorter names beside the settings' own.
_SHORT: Final = {"export_url": "--export"}

# Variables that the commands themselves read.
_OTHER_VARIABLES: Final = ("FLOWTRAIL_CONFIG", "FLOWTRAIL_TOKEN", "FLOWTRAIL_URL")

_AS_THEY_ARE: Final = (bool, int, float, str, Path)


def default_text(field: FieldInfo) -> str:
    """A setting's default as it would be written: `4318`, `empty`, `*.dlq, *-dlt`."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "empty"
    return "empty" if value in (None, "", {}) else str(value)


_NEEDED: Final = (
    "chdb",
    "clickhouse_connect",
    "confluent_kafka",
    "grpc",
    "httptools",
    "prometheus_client",
    "starlette",
    "tomli_w",
    "uvicorn",
)


def _collect(*, config: Path | None = None, print_config: bool = False, **options: Any) -> None:
    need("collector", _NEEDED)
    arguments = {name: _value(name, given) for name, given in options.items() if given is not None}
    try:
        configuration = configure(arguments, os.environ, config, {*VARIABLES, *_OTHER_VARIABLES})
    except BadConfiguration as error:
        stop(str(error), Exit.BAD_USE)
    if print_config:
        for sentence in configuration.warnings:
            typer.echo(f"flowtrail: {sentence}", err=True)
        typer.echo(shown(configuration), nl=False)
        return
    from flowtrail.collector.service import Broken, StartError, run
    from flowtrail.collector.telemetry.logs import set_up_logs

    set_up_logs(configuration.settings)
    for sentence in configuration.warnings:
        log.warning("%s", sentence)
    try:
        run(configuration.settings)
    except StartError as error:
        stop(str(error), Exit.BAD_USE)
    except Broken as error:
        stop(str(error), Exit.BROKEN)


def _value(name: str, given: Any) -> Any:
    """What was typed, as the settings want it: NAME=VALUE pairs become a mapping."""
    kind = _kind(Settings.model_fields[name].annotation)
    if kind in (list, tuple):
        return [text for text in given if text]  # '' alone is how an empty list is typed
    if kind is not dict:
        return given
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option_name(name))
        pairs[key] = value
    return pairs


def _kind(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A keyword of the command: None when not given, so that the environment and the default have their say."""
    kind = _kind(field.annotation)
    names = [option_name(name)] + ([_SHORT[name]] if name in _SHORT else [])
    metavar, notes = None, [f"env: {environment_name(name)}", f"default: {default_text(field)}"]
    wanted: Any
    if kind in (dict, list, tuple):
        wanted = list[str] | None
        notes.insert(0, "repeatable")
        metavar = "NAME=VALUE" if kind is dict else None
    else:
        wanted = (kind if kind in _AS_THEY_ARE else str) | None
    if kind is bool:
        names = [f"{names[0]}/--no-{names[0].removeprefix('--')}"]
    option = typer.Option(*names, help=f"{field.description} ({'; '.join(notes)})", metavar=metavar, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[wanted, option])


def _about_the_file() -> list[inspect.Parameter]:
    config = typer.Option(
        "--config",
        envvar="FLOWTRAIL_CONFIG",
        metavar="FILE",
        help="TOML file of options; weaker than arguments and the environment. (default: flowtrail.toml in the data "
        "directory, where there is one)",
        show_default=False,
    )
    print_config = typer.Option(
        "--print-config",
        help="Print every option as it is in force, as TOML, with where it was set and without secrets; then leave.",
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, config]),
        inspect.Parameter("print_config", keyword, default=False, annotation=Annotated[bool, print_config]),
    ]


def _with_an_option_for_each_setting(command: Callable[..., None]) -> Callable[..., None]:
    parameters = _about_the_file() + [_parameter(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


collect = _with_an_option_for_each_setting(_collect)

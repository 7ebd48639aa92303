"""`flowtrail collect`: the collector, with one option for each of its settings.

The options are made from the settings, so none can be forgotten: `api_port` is `--api-port` and `FLOWTRAIL_API_PORT`.
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from flowtrail.collector.settings import Settings

from .asking import Exit, need, stop

# Shorter names beside the settings' own.
_SHORT: Final = {"export_url": "--export"}

_AS_THEY_ARE: Final = (bool, int, float, str, Path)


def option_name(field: str) -> str:
    """`api_port` → `--api-port`."""
    return "--" + field.replace("_", "-")


def environment_name(field: str) -> str:
    """`api_port` → `FLOWTRAIL_API_PORT`."""
    return f"{Settings.model_config.get('env_prefix', '')}{field}".upper()


def default_text(field: FieldInfo) -> str:
    """A setting's default as it would be written: `4318`, `empty`, `*.dlq, *-dlt`."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "empty"
    return "empty" if value in (None, "", {}) else str(value)


def _collect(**options: Any) -> None:
    need("collector", ("chdb", "clickhouse_connect", "confluent_kafka", "grpc", "httptools", "starlette", "uvicorn"))
    try:
        settings = Settings(**{name: _value(name, given) for name, given in options.items() if given is not None})
    except ValidationError as error:
        stop("; ".join(map(_sentence, error.errors())), Exit.BAD_USE)
    except SettingsError as error:
        stop(str(error), Exit.BAD_USE)
    from flowtrail.collector.service import Broken, StartError, run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it would tell of each server's start and end
    try:
        run(settings)
    except StartError as error:
        stop(str(error), Exit.BAD_USE)
    except Broken as error:
        stop(str(error), Exit.BROKEN)


def _sentence(wrong: ErrorDetails) -> str:
    """`--api-port: Input should be less than or equal to 65535`."""
    name = option_name(str(wrong["loc"][0])) if wrong["loc"] else "the settings"
    return f"{name}: {wrong['msg'].removeprefix('Value error, ')}"


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


def _with_an_option_for_each_setting(command: Callable[..., None]) -> Callable[..., None]:
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


collect = _with_an_option_for_each_setting(_collect)

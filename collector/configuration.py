"""Where options come from: arguments, the environment, a file, defaults. The first that has an option decides.

A file is TOML with the options' own names: `api_port = 8680`, lists as lists, `kafka_properties` as a table. It is the
one that was named, else `flowtrail.toml` in the data directory: whoever may write there has all spans anyway. None is
looked for in the working directory, which may be anybody's.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from .masking import masked
from .settings import Settings

FILE_NAME: Final = "flowtrail.toml"
PREFIX: Final = Settings.model_config.get("env_prefix", "")
DEFAULT: Final = "default"

# Below this, difflib names what nobody meant.
_LIKENESS: Final = 0.45
# Kubernetes gives every pod these for a service that is called flowtrail.
_OF_A_SERVICE: Final = re.compile(r"(SERVICE_(HOST|PORT)|PORT_\d+_|PORT$)")


class BadConfiguration(Exception):
    """Options that make no sense; the message says which, where they were set, and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and for each option the places that set it, the strongest first: `--api-port`, `FLOWTRAIL_API_PORT`,
    a file's path, or `default`. `warnings` are sentences on variables that set nothing."""

    settings: Settings
    origins: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()


def option_name(field: str) -> str:
    """`api_port` → `--api-port`."""
    return "--" + field.replace("_", "-")


def environment_name(field: str) -> str:
    """`api_port` → `FLOWTRAIL_API_PORT`."""
    return f"{PREFIX}{field}".upper()


def configure(
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None = None,
    known_elsewhere: Collection[str] = (),
) -> Configuration:
    """Return what is in force. Raises BadConfiguration.

    `environment` is looked through for names that set nothing; the values come from the process's own.
    `known_elsewhere` are variables of FLOWTRAIL_… that others read. Of `kafka_properties` each property has the value
    of the strongest place that names it; any other option comes from one place whole.
    """
    try:
        from_environment = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise BadConfiguration(str(error)) from error
    path = file or _file_in(Path({**_defaults(), **from_environment, **arguments}["data_dir"]))
    from_file = _read(path, is_named=file is not None) if path is not None else {}
    places = [
        (arguments, option_name),
        (from_environment, environment_name),
        (from_file, lambda _: str(path)),
    ]
    origins = {
        name: tuple(called(name) for values, called in places if name in values) or (DEFAULT,)
        for name in Settings.model_fields
    }
    together = {**from_file, **from_environment, **arguments}
    tables = [values["kafka_properties"] for values, _ in reversed(places) if "kafka_properties" in values]
    if tables and all(isinstance(table, Mapping) for table in tables):
        together["kafka_properties"] = {name: value for table in tables for name, value in table.items()}
    try:
        settings = Settings(**together)
    except ValidationError as error:
        raise BadConfiguration("; ".join(_sentence(one, origins) for one in error.errors())) from error
    except SettingsError as error:
        raise BadConfiguration(str(error)) from error
    return Configuration(settings, origins, tuple(_unknown(environment, known_elsewhere)))


def shown(configuration: Configuration) -> str:
    """Return what is in force as TOML, with the places that set each option; secrets are masked. It can be read as a
    file again, once the masked parts are written in."""
    import tomli_w  # of the collector's own extra, which reading options does without

    # A table holds all that follows it, so those come last.
    values = {name: _plain(getattr(configuration.settings, name)) for name in Settings.model_fields}
    parts = []
    for name in sorted(values, key=lambda name: isinstance(values[name], dict)):
        shown_value = masked(name, values[name])
        hidden = "; secrets are masked" if shown_value != values[name] else ""
        parts.append(f"# {', '.join(configuration.origins[name])}{hidden}\n{tomli_w.dumps({name: shown_value})}")
    return "\n".join(parts)


def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in Settings.model_fields.items()}


def _file_in(data_dir: Path) -> Path | None:
    path = data_dir / FILE_NAME
    return path if path.exists() else None


def _read(path: Path, *, is_named: bool) -> dict[str, Any]:
    """Return a file's options. Raises BadConfiguration."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path} is not TOML: {error}") from error
    unknown = [
        f"{path}: there is no option {name}{_hint(name)}" for name in values if name not in Settings.model_fields
    ]
    if unknown:
        raise BadConfiguration("; ".join(unknown))
    if not is_named and "data_dir" in values and Path(str(values["data_dir"])).absolute() != path.parent.absolute():
        raise BadConfiguration(
            f"{path} was found by data_dir, and sets another; name the file with --config, or take data_dir out of it"
        )
    return values


def _unknown(environment: Mapping[str, str], known_elsewhere: Collection[str]) -> list[str]:
    known = {environment_name(name) for name in Settings.model_fields} | set(known_elsewhere)
    sentences = []
    for variable in sorted(environment):
        name = variable.upper()
        if name.startswith(PREFIX.upper()) and name not in known:
            rest = name.removeprefix(PREFIX.upper())
            if not _OF_A_SERVICE.match(rest):
                sentences.append(
                    f"{variable} sets nothing: there is no such option{_hint(rest.lower(), environment_name)}"
                )
    return sentences


def _hint(wrong: str, called: Callable[[str], str] = str) -> str:
    near = get_close_matches(wrong.replace("-", "_").lower(), list(Settings.model_fields), n=1, cutoff=_LIKENESS)
    return f"; did you mean {called(near[0])}?" if near else "; `flowtrail collect --print-config` lists all"


def _sentence(wrong: ErrorDetails, origins: Mapping[str, tuple[str, ...]]) -> str:
    """`--api-port: Input should be less than or equal to 65535`; of a file `flowtrail.toml: api_port: …`."""
    if not wrong["loc"]:
        where = "the settings"
    else:
        name = str(wrong["loc"][0])
        where = origins[name][0]
        if where == DEFAULT:
            where = option_name(name)
        elif where not in {option_name(name), environment_name(name)}:
            where = f"{where}: {name}"
    return f"{where}: {wrong['msg'].removeprefix('Value error, ')}"


def _plain(value: Any) -> Any:
    """A setting as TOML knows it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value

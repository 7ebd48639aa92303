"""The reference of options, from where they are defined: two files in deploy/ and the tables of docs/configuration.md
and docs/watching-flowtrail.md.

`python -m tests.flowtrail.reference` writes them anew; tests hold that they are what it would write.
"""

import json
import textwrap
from pathlib import Path
from typing import Any, Final

import tomli_w

from flowtrail.collector.configuration import environment_name, option_name
from flowtrail.collector.settings import Settings
from flowtrail.collector.telemetry.metrics import METRICS
from flowtrail.tracer.configuration import VARIABLES, Configuration, variable_name

ROOT: Final = Path(__file__).parent.parent.parent
ENVIRONMENT_FILE: Final = ROOT / "deploy" / "flowtrail.env"
TOML_FILE: Final = ROOT / "deploy" / "flowtrail.toml"
PAGE: Final = ROOT / "docs" / "configuration.md"
WATCHING_PAGE: Final = ROOT / "docs" / "watching-flowtrail.md"
BEGIN: Final = "<!-- options of collect: begin (made by `make reference`) -->\n"
END: Final = "<!-- options of collect: end -->\n"
TRACER_BEGIN: Final = "<!-- options of the tracer: begin (made by `make reference`) -->\n"
TRACER_END: Final = "<!-- options of the tracer: end -->\n"
METRICS_BEGIN: Final = "<!-- metrics of the collector: begin (made by `make reference`) -->\n"
METRICS_END: Final = "<!-- metrics of the collector: end -->\n"


def environment_file() -> str:
    """Every setting as a commented line of an environment file, with its sentence above it."""
    parts = [
        "# Every option of `flowtrail collect` with its default. A line without its # is in force:\n"
        "# docker run --env-file deploy/flowtrail.env flowtrail, or systemd's EnvironmentFile=.\n"
    ]
    for name, field in Settings.model_fields.items():
        sentence = textwrap.fill(str(field.description), 118, initial_indent="# ", subsequent_indent="# ")
        parts.append(f"\n{sentence}\n#{environment_name(name)}={_written(field.default)}\n")
    return "".join(parts)


def toml_file() -> str:
    """Every setting as a commented line of a TOML file, with its sentence above it; the tables at its end."""
    parts = [
        "# Every option of `flowtrail collect` with its default. A line without its # is in force:\n"
        "# flowtrail collect --config flowtrail.toml, or lay it into the data directory.\n"
    ]
    fields = Settings.model_fields
    for name in sorted(fields, key=lambda name: isinstance(fields[name].default, dict)):
        sentence = textwrap.fill(_of_a_file(str(fields[name].description)), 118)
        written = tomli_w.dumps({name: _of_toml(fields[name].default)})
        parts.append("\n" + textwrap.indent(sentence, "# ") + "\n" + textwrap.indent(written, "#"))
    return "".join(parts)


def _of_a_file(description: str) -> str:
    """The sentence without how a value is written in the environment."""
    return description.replace(", as a JSON list", "").replace(", as a JSON object", ", as a table")


def _of_toml(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else str(default) if isinstance(default, Path) else default


def table() -> str:
    """Every setting as a row: option, environment variable, default, sentence."""
    rows = ["| option | environment | default | |\n", "|---|---|---|---|\n"]
    for name, field in Settings.model_fields.items():
        default = f"`{_written(field.default)}`".replace("|", "\\|") if _written(field.default) else "empty"
        rows.append(f"| `{option_name(name)}` | `{environment_name(name)}` | {default} | {field.description} |\n")
    return "".join(rows)


def tracer_table() -> str:
    """Every option of the tracer as a row: keyword argument, environment variable, default, sentence."""
    rows = ["| argument | environment | default | |\n", "|---|---|---|---|\n"]
    for name, option in Configuration.__dataclass_fields__.items():
        variable = f"`{variable_name(name)}`" if variable_name(name) in VARIABLES else ""
        written = str(option.default).lower() if isinstance(option.default, bool) else option.default
        default = f"`{written}`" if written else "empty" if written is not None else "none"
        rows.append(f"| `{name}` | {variable} | {default} | {option.type.__metadata__[0]} |\n")  # type: ignore[union-attr]
    return "".join(rows)


def metrics_table() -> str:
    """Every metric of the collector as a row: name, kind, labels, sentence."""
    rows = ["| metric | kind | labels | |\n", "|---|---|---|---|\n"]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n")
    return "".join(rows)


def watching_page(text: str) -> str:
    """`text` of the page with its table of metrics made anew. Raises ValueError where the marks are missing."""
    return _between(METRICS_BEGIN, METRICS_END, metrics_table(), text)


def page(text: str) -> str:
    """`text` of the page with its tables of options made anew. Raises ValueError where the marks are missing."""
    return _between(TRACER_BEGIN, TRACER_END, tracer_table(), _between(BEGIN, END, table(), text))


def _between(begin: str, end: str, made: str, text: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not after and end not in text:
        raise ValueError(f"a page lacks the marks {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{made}{end}{after}"


def _written(default: Any) -> str:
    if isinstance(default, tuple | list | dict):
        return json.dumps(default) if default else ("{}" if isinstance(default, dict) else "[]")
    return "" if default is None else str(default)


if __name__ == "__main__":
    ENVIRONMENT_FILE.write_text(environment_file())
    TOML_FILE.write_text(toml_file())
    PAGE.write_text(page(PAGE.read_text()))
    WATCHING_PAGE.write_text(watching_page(WATCHING_PAGE.read_text()))

"""The reference of options, from the collector's settings: deploy/flowtrail.env and a part of docs/configuration.md.

`python -m tests.flowtrail.reference` writes both anew; tests hold that they are what it would write.
"""

import json
import textwrap
from pathlib import Path
from typing import Any, Final

from flowtrail.cli.collect import environment_name, option_name
from flowtrail.collector.settings import Settings

ROOT: Final = Path(__file__).parent.parent.parent
ENVIRONMENT_FILE: Final = ROOT / "deploy" / "flowtrail.env"
PAGE: Final = ROOT / "docs" / "configuration.md"
BEGIN: Final = "<!-- options of collect: begin (made by `make reference`) -->\n"
END: Final = "<!-- options of collect: end -->\n"


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


def table() -> str:
    """Every setting as a row: option, environment variable, default, sentence."""
    rows = ["| option | environment | default | |\n", "|---|---|---|---|\n"]
    for name, field in Settings.model_fields.items():
        default = f"`{_written(field.default)}`".replace("|", "\\|") if _written(field.default) else "empty"
        rows.append(f"| `{option_name(name)}` | `{environment_name(name)}` | {default} | {field.description} |\n")
    return "".join(rows)


def page(text: str) -> str:
    """`text` of the page with its table of options made anew. Raises ValueError where the marks are missing."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after and END not in text:
        raise ValueError(f"{PAGE.name} lacks the marks between which the options stand")
    return f"{before}{BEGIN}{table()}{END}{after}"


def _written(default: Any) -> str:
    if isinstance(default, tuple | list | dict):
        return json.dumps(default) if default else ("{}" if isinstance(default, dict) else "[]")
    return "" if default is None else str(default)


if __name__ == "__main__":
    ENVIRONMENT_FILE.write_text(environment_file())
    PAGE.write_text(page(PAGE.read_text()))

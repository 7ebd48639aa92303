"""The command `flowtrail`.

app.py           the commands together, `--version`
demo.py          `flowtrail demo`       the order-processing demo
collect.py       `flowtrail collect`    the collector; its options are made from the collector's settings
ui.py            `flowtrail ui`         the pages
why.py           `flowtrail why`        the story of one flow, its verdict and the next step
flows.py         `flowtrail flows`      search
graph.py         `flowtrail graph`      who talks to whom
lag.py           `flowtrail lag`        how far each group is behind
journal.py       `flowtrail journal`    what lies in a collector's journal, and reading it again

story.py         a flow as text, for `why` and the demo
trail.py         the order in which a story tells events and hops (pure)
figures.py       numbers, durations and times as text, and back
asking.py        asking the collector: addresses, JSON, exit statuses
"""

import sys
from importlib.util import find_spec
from typing import Final

# What every command needs, beside the tracer's own dependencies.
_NEEDED: Final = ("typer", "rich", "pydantic", "pydantic_settings", "requests")


def main() -> None:
    """Run the command line; exits with the command's status, or 2 where only the tracer is installed."""
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        print(
            f"flowtrail: the commands are not installed ({', '.join(missing)} is missing); "
            "this is the tracer alone. In a clone of Flowtrail, get them with: pip install '.[all]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from .app import run

    sys.exit(run(sys.argv[1:]))

"""Runs the collector or the pages as a child of the demo: `python -m flowtrail.demo.attached collector`.

The collector takes its settings from the environment (`FLOWTRAIL_…`), the pages take the collector's address.
"""

import logging
import sys

from flowtrail.demo.children import end_with_parent


def main(arguments: list[str]) -> int:
    """Return 0 when it was told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    end_with_parent()
    match arguments:
        case ["collector"]:
            from flowtrail.collector.service import run as collect
            from flowtrail.collector.settings import Settings

            collect(Settings())
        case ["ui", api_url, host, port]:
            from flowtrail.ui.app import run as show

            show(api_url, host, int(port))
        case _:
            print("collector, or ui API_URL HOST PORT", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

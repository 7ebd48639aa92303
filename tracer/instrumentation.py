"""Tracing for a program that already uses Kafka clients, and its removal.

Every folder under `clients` traces one library, and puts the tracing in and out by itself: `install(switch)` and
`remove()`, both harmless when there is nothing to do. Importing the folder raises ImportError when the library is not
there, or too old.
"""

import importlib
import importlib.util
import logging
import threading
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.trace import TracerProvider

from .clients.switch import Switch
from .interceptor import Interceptor
from .setup import set_up
from .tracing import CHAIN

_log = logging.getLogger("flowtrail.tracer")

# Each library by the module that its programs import, and the folder that traces it.
_FOLDERS: Final = {"kafka": "kafka_python"}
_NONE_INSTALLED: Final = "no Kafka client is installed: pip install 'kafka-python>=3.0.12' crc32c"

_lock = threading.Lock()
# The folders whose tracing was put in.
_installed: dict[str, Any] = {}
_added: list[Interceptor] = []
_switch = Switch()


def instrument(
    service: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    interceptors: Iterable[Interceptor] = (),
) -> None:
    """Trace every producer and consumer of this process, of each Kafka client that is installed.

    `service` names this program in every span; without it OTEL_SERVICE_NAME does. Without `tracer_provider` spans go to
    the global provider, which is set up from the `OTEL_*` variables when the program has not done so (see `set_up`).
    `interceptors` run beside the tracing until `uninstrument`. Calling it twice changes nothing.

    A client that is too old is passed over, with a line in the log. Raises ImportError when none is left to trace.
    """
    with _lock:
        folders = _load()
        set_up(service, tracer_provider=tracer_provider)
        for interceptor in interceptors:
            CHAIN.add(interceptor)
            _added.append(interceptor)
        _switch.is_on = True
        for name, folder in folders.items():
            try:
                folder.install(_switch)
            except Exception:
                # Part of it may be in; `uninstrument` takes that out.
                _log.exception("%s is not traced: its tracing cannot be put in", name)
            _installed[name] = folder


def uninstrument() -> None:
    """Leave the clients exactly as they were; without `instrument` before, nothing happens.

    Spans that were begun still end. The tracer provider stays: OpenTelemetry lets no one take it away.
    """
    with _lock:
        _switch.is_on = False
        # All that ever were put in: what could not be taken out the last time may come out now.
        for name, folder in _installed.items():
            try:
                folder.remove()
            except Exception:
                _log.exception("the tracing of %s cannot be taken out whole; it is switched off", name)
        while _added:
            CHAIN.remove(_added.pop())


def _load() -> dict[str, Any]:
    """Import the folders of the clients that are installed: a library that is not there is never asked for."""
    loaded: dict[str, Any] = {}
    refused: list[ImportError] = []
    for module, folder in _FOLDERS.items():
        if not _is_installed(module):
            continue
        try:
            loaded[folder] = importlib.import_module(f"{__package__}.clients.{folder}")
        except ImportError as error:
            refused.append(error)
            _log.warning("%s", error)
    if not loaded:
        raise refused[0] if refused else ImportError(_NONE_INSTALLED)
    return loaded


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that was made by hand, as tests do
        return True

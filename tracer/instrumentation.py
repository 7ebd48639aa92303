"""Tracing for a program that already uses Kafka clients, and its removal.

Every folder under `clients` traces one library, and puts the tracing in and out by itself: `install(switch)` and
`remove()`, both harmless when there is nothing to do. Importing the folder raises ImportError when the library is not
there, or too old.
"""

import importlib
import importlib.util
import logging
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Unpack

from opentelemetry.trace import TracerProvider

from . import contrib
from .clients.switch import Switch
from .configuration import CONFIGURATION, Options
from .counts import COUNTS
from .interceptor import Interceptor
from .setup import set_up
from .tracing import CHAIN, TRACING

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_log = logging.getLogger("flowtrail.tracer")

# Each library by the module that its programs import, and the folder that traces it.
_FOLDERS: Final = {"kafka": "kafka_python", "confluent_kafka": "confluent", "aiokafka": "aiokafka"}
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
    meter_provider: "MeterProvider | None" = None,
    interceptors: Iterable[Interceptor] = (),
    **options: Unpack[Options],
) -> None:
    """Trace every producer and consumer of this process, of each Kafka client that is installed.

    `service` names this program in every span; without it OTEL_SERVICE_NAME does. Without `tracer_provider` spans go to
    the global provider, which is set up from the `OTEL_*` variables when the program has not done so (see `set_up`).
    Metrics go to `meter_provider`, or to the global one where there is one. `interceptors` run beside the tracing until
    `uninstrument`. The other options are those of `Configuration`. Calling it twice changes nothing but options.

    OpenTelemetry's own instrumentations of these clients are turned off until `uninstrument`, so that no span is there
    twice. A client that is too old is passed over, with a line in the log. Raises ImportError when none is left to
    trace, TypeError or ValueError for a wrong option.
    """
    CONFIGURATION.configure(options)
    with _lock:
        folders = _load()
        set_up(service, tracer_provider=tracer_provider, meter_provider=meter_provider)
        _put_in(folders, interceptors)
        _switch.is_on = True


def instrument_at_first_use(
    service: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: "MeterProvider | None" = None,
    interceptors: Iterable[Interceptor] = (),
    **options: Unpack[Options],
) -> None:
    """As `instrument`, but `set_up` waits for the first use of a client: the program may set a provider until then."""

    def begin() -> None:
        try:
            set_up(service, tracer_provider=tracer_provider, meter_provider=meter_provider)
        except Exception as error:
            COUNTS.fail("instrument", "set_up", error)

    CONFIGURATION.configure(options)
    with _lock:
        _put_in(_load(), interceptors)
        _switch.turn_on_at_first_use(begin)


def _put_in(folders: dict[str, Any], interceptors: Iterable[Interceptor]) -> None:
    for interceptor in interceptors:
        CHAIN.add(interceptor)
        _added.append(interceptor)
    for name, folder in folders.items():
        try:
            contrib.stand_down(name)
            folder.install(_switch)
        except Exception:
            # Part of it may be in; `uninstrument` takes that out.
            _log.exception("%s is not traced: its tracing cannot be put in", name)
        _installed[name] = folder


def uninstrument() -> None:
    """Leave the clients exactly as they were; without `instrument` before, nothing happens.

    Spans that were begun still end. The tracer provider stays, since OpenTelemetry lets no one take it away; its span
    processors are the program's own again.
    """
    with _lock:
        _switch.is_on = False
        # All that ever were put in: what could not be taken out the last time may come out now.
        for name, folder in _installed.items():
            try:
                folder.remove()
                contrib.stand_up(name)
            except Exception:
                _log.exception("the tracing of %s cannot be taken out whole; it is switched off", name)
        while _added:
            CHAIN.remove(_added.pop())
        known = sys.modules.get(f"{__package__}.clients.known")  # there is none when no client was traced
        if known is not None:
            # Nobody sees any more that a loop comes back, and its context would stay current for ever.
            for each in known.everyone():
                each.inferred.let_go()
        TRACING.rest()


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

"""The OpenTelemetry context of this thread or task, without the API's calls in between: it is asked at every record."""

from typing import Any

from opentelemetry import context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

_runtime: Any = context._RUNTIME_CONTEXT

if type(_runtime) is ContextVarsRuntimeContext:
    get_current, attach = _runtime._current_context.get, _runtime._current_context.set
else:  # OTEL_PYTHON_CONTEXT names another
    get_current, attach = _runtime.get_current, _runtime.attach

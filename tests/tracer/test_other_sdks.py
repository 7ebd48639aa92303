"""An SDK that has other private names than today's loses no span: the fast path is closed there, and that is told once.

Which names those are is read from the fast path's own files, so a new one is tried as well.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, StaticSampler

from flowtrail.tracer import tracing
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.interceptor import Chain
from flowtrail.tracer.record import Client, Polled, Received
from flowtrail.tracer.tracing import Tracing, end_process

CLIENT: Final = Client(client_id="c-1", group="billing")
TRACER: Final = Path(tracing.__file__).parent
# What the fast path calls the SDK's objects.
KINDS: Final[dict[str, tuple[type, ...]]] = {
    "provider": (TracerProvider,),
    "multiple": (SynchronousMultiSpanProcessor,),
    "tracer": (Tracer,),
    "sampler": (StaticSampler, ParentBased),
}


def trees() -> Iterator[ast.Module]:
    """The files that are imported when the fast path is first looked at."""
    for path in (*sorted((TRACER / "fast_path").glob("*.py")), TRACER / "export.py"):
        yield ast.parse(path.read_text())


def private_attributes() -> list[tuple[str, str]]:
    """(what has it, its name) for each private attribute of the SDK's objects."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(ast.Name(owner) | ast.Attribute(attr=owner), name):
                    found.add((owner.lstrip("_"), name))
                case ast.Call(ast.Name("getattr"), [ast.Name(owner), ast.Constant(str(name)), *_]):
                    found.add((owner, name))
    return sorted((owner, name) for owner, name in found if owner in KINDS and name.startswith("_"))


def private_imports() -> list[tuple[str, str]]:
    """(module, name) for each private name that is imported from OpenTelemetry."""
    return sorted(
        {
            (node.module, alias.name)
            for tree in trees()
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opentelemetry.")
            for alias in node.names
            if alias.name.startswith("_") and node.module
        }
    )


class Hidden:
    """An attribute that only its own library finds: to us it has been renamed."""

    def __init__(self, kind: type, name: str) -> None:
        self._name, self._of_class = name, vars(kind).get(name)

    def __get__(self, owner: Any, kind: type) -> Any:
        if sys._getframe(1).f_globals["__name__"].startswith("flowtrail."):
            raise AttributeError(self._name)
        if self._name in vars(owner):
            return vars(owner)[self._name]
        return self._of_class.__get__(owner, kind)  # type: ignore[union-attr]  # a method of the class

    def __set__(self, owner: Any, value: object) -> None:
        vars(owner)[self._name] = value


class Keeping(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def test_the_private_names_are_found() -> None:
    assert {("provider", "_disabled"), ("multiple", "_span_processors"), ("sampler", "_root")} <= set(
        private_attributes()
    )
    assert ("opentelemetry.sdk.trace", "_Span") in private_imports()


@pytest.mark.parametrize(("owner", "name"), private_attributes())
def test_a_private_attribute_that_was_renamed_costs_no_span_and_one_line(
    monkeypatch: pytest.MonkeyPatch, owner: str, name: str
) -> None:
    for kind in KINDS[owner]:
        monkeypatch.setattr(kind, name, Hidden(kind, name), raising=False)
    keeping, provider = Keeping(), TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
    provider.add_span_processor(keeping)
    before, made = COUNTS.health(), Tracing(provider)
    for _ in range(3):
        do_everything(made)
    assert provider.force_flush()
    assert (
        sorted(span.name for span in keeping.ended)
        == ["poll orders"] * 3 + ["process orders"] * 3 + ["send orders"] * 3
    )
    after = COUNTS.health()
    assert after.interceptor_errors - before.interceptor_errors <= 1
    assert after.dropped == before.dropped
    made.rest()
    provider.shutdown()


def do_everything(made: Tracing) -> None:
    chain = Chain(last=made)
    sending = chain.send(CLIENT, "orders", b"key", b"value", None)
    carried = list(sending.headers)
    assert [header for header, _ in carried] == ["traceparent"]
    chain.acknowledge(sending, 1, 2)
    records = [Received(CLIENT, "orders", 1, 2, b"key", 1_700_000_000_000, carried)]
    chain.consume(Polled(CLIENT, records, 1))
    spans, _ = made.start_process(CLIENT, records, is_batch=False)
    spans[0].set_attribute("customer.tier", "gold")  # makes it the SDK's own
    end_process(spans, None)
    assert isinstance(spans[0], trace.Span)


# The names are hidden once our part that does not know the SDK is there; modules are not imported twice.
HIDE: Final = """
import importlib, sys, types
from tests.tracer.test_other_sdks import do_everything, Keeping
from opentelemetry.sdk.trace import TracerProvider
from flowtrail.tracer.counts import COUNTS
from flowtrail.tracer.tracing import Tracing

module, name = sys.argv[1:]
assert not [each for each in sys.modules if each.startswith("flowtrail.tracer.fast_path")]

class Renamed(types.ModuleType):
    def __getattribute__(self, asked):
        if asked == name and sys._getframe(1).f_globals["__name__"].startswith("flowtrail."):
            raise AttributeError(asked)
        return super().__getattribute__(asked)

importlib.import_module(module).__class__ = Renamed
keeping, provider = Keeping(), TracerProvider()
provider.add_span_processor(keeping)
tracing = Tracing(provider)
for _ in range(3):
    do_everything(tracing)
provider.force_flush()
print(sorted(span.name for span in keeping.ended), COUNTS.health().interceptor_errors)
"""


@pytest.mark.parametrize(("module", "name"), private_imports())
def test_a_private_name_that_cannot_be_imported_costs_no_span_and_one_line(module: str, name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HIDE, module, name], capture_output=True, text=True, timeout=60, check=True
    )
    told = ["poll orders"] * 3 + ["process orders"] * 3 + ["send orders"] * 3
    assert ran.stdout == f"{told} 1\n"
    assert ran.stderr.count("Traceback") == 1  # logged once, with its cause

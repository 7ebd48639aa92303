"""What happens in a run, planned before it starts: who orders what and when, and what is broken when. Pure."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flowtrail.demo.options import Fault, Options

OrderForm: TypeAlias = dict[str, Any]

# With nobody to say when it ends, everything breaks once in this time and is mended again.
CYCLE_S: Final = 60.0

EXTRAS: Final = ("gift", "invoice", "label")
_BROKEN_EXTRA: Final = {
    Fault.SLOW_CONSUMER: "gift",
    Fault.GROUP_DOWN: "invoice",
    Fault.CONSUMER_KILLED: "label",
}
_GOODS: Final = {"tea": 7.5, "kettle": 39.0, "cup": 12.0, "honey": 9.9, "lamp": 64.0, "rug": 120.0}
_TOO_LONG_NOTE_CHARACTERS: Final = 1_500_000  # a producer of Kafka sends 1 MiB unless it is told otherwise


@dataclass(frozen=True, slots=True)
class Order:
    """A customer orders. `fault` is what will befall the order, None for a healthy one."""

    form: OrderForm
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The process of this name is told to end, once it has handled every healthy order that asks for `extra`."""

    process: str
    extra: str


@dataclass(frozen=True, slots=True)
class Kill:
    """The process of this name gets SIGKILL, `after_s` after it took `order` in hand."""

    process: str
    order: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Start:
    """The process of this name is started again."""

    process: str


@dataclass(frozen=True, slots=True)
class Step:
    """What happens `at_s` after the first order."""

    at_s: float
    what: Order | Stop | Kill | Start


def steps(options: Options) -> Iterator[Step]:
    """Yield the steps of a run in the order of their time; without an end when the run has none.

    The same options give the same steps.
    """
    chance = random.Random(options.seed)
    numbers = itertools.count(1)
    if options.for_s is not None:
        yield from _cycle(0, options.for_s, options, chance, numbers, is_mended=False)
        return
    for cycle in itertools.count():
        yield from _cycle(cycle * CYCLE_S, CYCLE_S, options, chance, numbers, is_mended=True)


def _cycle(
    begin_s: float, for_s: float, options: Options, chance: random.Random, numbers: Iterator[int], *, is_mended: bool
) -> Iterator[Step]:
    """Yield the steps of one stretch of time. `is_mended`: what was ended is started again before the stretch ends."""
    broken = options.broken
    faulty: list[Step] = []

    def at(share: float, what: Order | Stop | Kill | Start) -> None:
        faulty.append(Step(begin_s + share * for_s, what))

    def order(fault: Fault | None, **wishes: Any) -> Order:
        return Order(_form(f"o-{options.seed}-{next(numbers):05d}", chance, wishes), fault)

    few = 1 if is_mended else max(2, min(6, round(for_s / 6)))
    simple: dict[Fault, dict[str, Any]] = {
        Fault.HANDLER_RAISES: {"currency": "XTS"},  # ISO 4217's code for tests: no shop has a rate for it
        Fault.POISON_RECORD: {"card": "tok_unreadable"},
        Fault.UNREAD_TOPIC: {"loyalty_card": "L-1007"},
        Fault.RECORD_TOO_LARGE: {"note": "x" * _TOO_LONG_NOTE_CHARACTERS},
    }
    for fault, wishes in simple.items():
        if fault in broken:
            for _ in range(few):
                at(chance.uniform(0.1, 0.9), order(fault, **wishes))
    if Fault.GROUP_DOWN in broken:
        at(0.25, Stop("payments-invoices", "invoice"))
        for _ in range(few):
            at(chance.uniform(0.4, 0.7 if is_mended else 0.9), order(Fault.GROUP_DOWN, invoice=True))
        if is_mended:
            at(0.9, Start("payments-invoices"))
    if Fault.CONSUMER_KILLED in broken:
        jammed = order(Fault.CONSUMER_KILLED, label="glossy")
        at(0.2, jammed)
        at(0.3, Kill("shipping-labels", jammed.form["order"], after_s=2.5))
        for _ in range(few):
            at(chance.uniform(0.3, 0.7 if is_mended else 0.9), order(Fault.CONSUMER_KILLED, label="plain"))
        if is_mended:
            at(0.9, Start("shipping-labels"))
    if Fault.SLOW_CONSUMER in broken:
        # Enough that some still wait when the run is judged.
        for _ in range(3 if is_mended else math.ceil((0.4 * for_s + 30) / 3)):
            at(chance.uniform(0.6, 0.95), order(Fault.SLOW_CONSUMER, gift="origami"))
    healthy = _healthy(begin_s, for_s, options, chance, order)
    yield from sorted([*faulty, *healthy], key=lambda step: step.at_s)


def _healthy(begin_s: float, for_s: float, options: Options, chance: random.Random, order: Any) -> Iterator[Step]:
    """Yield the orders that nothing befalls. An extra whose desk will break is only asked for in the first moments."""
    fragile = {extra for fault, extra in _BROKEN_EXTRA.items() if fault in options.broken}
    number_of_orders = max(len(EXTRAS), round(for_s * options.rate_per_s))
    for number in range(number_of_orders):
        share = number / number_of_orders
        if number < len(EXTRAS):  # so that every desk has been seen at work before one of them stops
            wishes = {EXTRAS[number]: "plain"}
        else:
            wishes = {extra: "plain" for extra in EXTRAS if extra not in fragile and chance.random() < 0.1}
        wishes["card"] = chance.choices(["tok_ok", "tok_declined", "tok_flaky"], [0.8, 0.12, 0.08])[0]
        # The first three come at once: on a short run the desks need the time.
        at_s = begin_s if number < len(EXTRAS) else begin_s + share * for_s
        yield Step(at_s, order(None, **wishes))


def _form(number: str, chance: random.Random, wishes: dict[str, Any]) -> OrderForm:
    goods = chance.choice(list(_GOODS))
    quantity = chance.randint(1, 4)
    return {
        "order": number,
        "customer": f"c-{chance.randint(1, 500):03d}",
        "goods": goods,
        "quantity": quantity,
        "amount": _GOODS[goods] * quantity,
        "currency": "EUR",
        "card": "tok_ok",
        **wishes,
    }

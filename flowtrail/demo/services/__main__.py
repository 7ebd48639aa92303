"""Runs one process of the shop until SIGTERM, or until its parent is gone."""

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import flowtrail
from flowtrail.demo.services import inventory, notifications, orders, payments, shipping, storefront
from flowtrail.demo.services.shop import Closing, Shop, close_with_parent, open_shop

PROCESSES: Final[dict[str, Callable[[Shop], None]]] = {
    "storefront": storefront.run,
    "orders": orders.run,
    "inventory": inventory.run,
    "inventory-gifts": inventory.wrap_gifts,
    "payments": payments.run,
    "payments-invoices": payments.write_invoices,
    "shipping": shipping.run,
    "shipping-labels": shipping.print_labels,
    "notifications": notifications.run,
}


def main(arguments: list[str]) -> int:
    """Return 0 when the process was told to end."""
    shop = open_shop(arguments)
    if shop.process != "storefront":  # whose standard input are the customers
        close_with_parent(shop)
    shop.diary.note("started", group=shop.group)
    try:
        PROCESSES[shop.process](shop)
    except Closing as closing:
        logging.getLogger(__name__).warning("%s", closing)
    shop.diary.note("closed")
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()  # would come at exit anyway; here it can still be told what became of the spans
    shop.diary.note("traced", **asdict(flowtrail.health()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

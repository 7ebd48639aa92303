"""The shop's topics, and who reads them.

    storefront ─checkouts▶ orders ─orders▶ inventory ─stock▶ payments ─payments▶ shipping ─shipments▶ notifications

A refused payment goes back: inventory releases the stock, orders cancels, notifications tells the customer.

    payments ─payments (refused)▶ inventory ─stock (released)▶ orders ─orders (cancelled)▶ notifications

Beside that, orders sends gifts, invoices and labels to desks of their own, and payments asks a gateway that gave no
answer again through payments.retry, and gives up into payments.dlq.
"""

from typing import Final

CHECKOUTS: Final = "checkouts"
ORDERS: Final = "orders"
STOCK: Final = "stock"
PAYMENTS: Final = "payments"
PAYMENTS_RETRY: Final = "payments.retry"
PAYMENTS_DLQ: Final = "payments.dlq"
SHIPMENTS: Final = "shipments"
GIFTS: Final = "gifts"
INVOICES: Final = "invoices"
LABELS: Final = "labels"
LOYALTY: Final = "loyalty"

# The groups of each topic. The dead-letter topic waits for a person; nobody has written loyalty's reader yet.
READERS: Final[dict[str, tuple[str, ...]]] = {
    CHECKOUTS: ("orders",),
    ORDERS: ("inventory", "notifications"),
    STOCK: ("payments", "orders"),
    PAYMENTS: ("shipping", "inventory"),
    PAYMENTS_RETRY: ("payments",),
    PAYMENTS_DLQ: (),
    SHIPMENTS: ("notifications",),
    GIFTS: ("inventory-gifts",),
    INVOICES: ("payments-invoices",),
    LABELS: ("shipping-labels",),
    LOYALTY: (),
}

# Every consuming process is named as its group; the part before the hyphen is its service.
GROUPS: Final = tuple(dict.fromkeys(group for groups in READERS.values() for group in groups))
STOREFRONT: Final = "storefront"


def service_of(process: str) -> str:
    """Return the service that a process belongs to: `inventory-gifts` → `inventory`."""
    return process.partition("-")[0]


def is_dead_letter(topic: str) -> bool:
    """Whether records end here on purpose, for a person to look at."""
    return topic.endswith(".dlq")


def is_retry(topic: str) -> bool:
    """Whether records come here for another attempt."""
    return topic.endswith(".retry")

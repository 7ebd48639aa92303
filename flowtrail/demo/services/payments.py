"""payments: charges the cards of orders whose stock is reserved.

A gateway that does not answer is asked again through the retry topic, and after `ATTEMPTS` the record goes to the
dead-letter topic. A refused card is no error: it is an answer. The second desk, `payments-invoices`, writes invoices.
"""

import logging
from typing import Any

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import INVOICES, LOYALTY, PAYMENTS, PAYMENTS_DLQ, PAYMENTS_RETRY, STOCK
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer

log = logging.getLogger(__name__)

ATTEMPTS = 3
RATES = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17}


class GatewayError(Exception):
    """The payment gateway gave no answer; it may give one later."""


def run(shop: Shop) -> None:
    """Charge; an order that fails is logged and does not hold up the next one."""
    flowtrail.set_up("payments")
    with KafkaProducer(**shop.producer_options) as producer, KafkaConsumer(**shop.consumer_options) as consumer:
        shop.subscribe(consumer, STOCK, PAYMENTS_RETRY)
        for record in shop.records(consumer):
            try:
                with flowtrail.process(record), shop.handling(record):
                    pay(shop, producer, record.value)
            except Exception:
                log.exception("order %s was not charged", record.value["order"])
            shop.commit(consumer, record)


def pay(shop: Shop, producer: KafkaProducer, order: dict[str, Any]) -> None:
    """Charge a reserved order, and say whether the card was good for it."""
    if order["type"] != "reserved":
        return
    amount = order["amount"] * RATES[order["currency"]]
    attempt = order.get("attempt", 1)
    try:
        is_charged = charge(order["card"], amount, attempt)
    except GatewayError:
        again = PAYMENTS_RETRY if attempt < ATTEMPTS else PAYMENTS_DLQ
        shop.send(producer, again, {**order, "attempt": attempt + 1})
        raise
    shop.send(producer, PAYMENTS, {**order, "type": "charged" if is_charged else "refused"})
    if is_charged and "loyalty_card" in order:
        points = {"type": "points", "order": order["order"], "points": round(amount)}
        shop.send(producer, LOYALTY, points)


def charge(card: str, amount: float, attempt: int) -> bool:
    """Ask the gateway (which the demo plays itself); return False for a refused card.

    Raises GatewayError when the gateway gives no answer.
    """
    if card == "tok_unreadable":
        raise GatewayError(f"cannot read the card of a payment of {amount:.2f} EUR")
    if card == "tok_flaky" and attempt == 1:
        raise GatewayError("no answer within 2 s")
    return card != "tok_declined"


def write_invoices(shop: Shop) -> None:
    """Write an invoice for everyone who asked for one."""
    flowtrail.set_up("payments")
    with KafkaConsumer(**shop.consumer_options) as consumer:
        shop.subscribe(consumer, INVOICES)
        for record in shop.records(consumer):
            with flowtrail.process(record), shop.handling(record):
                log.info("invoice for order %s", record.value["order"])
            shop.commit(consumer, record)

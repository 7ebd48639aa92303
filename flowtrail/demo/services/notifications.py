"""notifications: writes to the customer when an order is placed, cancelled or on its way."""

import logging
from typing import Any

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import ORDERS, SHIPMENTS
from flowtrail.tracer.clients.kafka_python import KafkaConsumer

log = logging.getLogger(__name__)

LETTERS = {
    "placed": "Thank you for your order {order}.",
    "cancelled": "We are sorry: your order {order} was cancelled.",
    "shipped": "Your order {order} is on {lorry}.",
}


def run(shop: Shop) -> None:
    """Handle records one by one with `processing`, the shortest way to trace a loop."""
    flowtrail.instrument(service="notifications")
    with KafkaConsumer(**shop.consumer_options, consumer_timeout_ms=200) as consumer:
        shop.subscribe(consumer, ORDERS, SHIPMENTS)
        while shop.is_open:
            for record in flowtrail.processing(consumer):
                with shop.handling(record):
                    write(record.value)
                shop.commit(consumer, record)
                if not shop.is_open:
                    break


def write(event: dict[str, Any]) -> None:
    """Write one letter for each order that the event is about."""
    for order in event.get("orders") or [event["order"]]:
        log.info(LETTERS[event["type"]].format(**{**event, "order": order}))

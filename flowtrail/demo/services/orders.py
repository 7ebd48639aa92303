"""orders: accepts what customers check out, tells who else has work with it, and cancels what cannot be paid.

A program that used kafka-python already: it is traced by the one call to `flowtrail.instrument`.
"""

from typing import Any

from kafka import KafkaConsumer, KafkaProducer

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import CHECKOUTS, GIFTS, INVOICES, LABELS, ORDERS, STOCK

EXTRAS = {"gift": GIFTS, "invoice": INVOICES, "label": LABELS}


def run(shop: Shop) -> None:
    """Handle records one by one, each inside its own `process` span."""
    flowtrail.instrument(service="orders")
    with (
        KafkaProducer(**shop.producer_options) as producer,
        KafkaConsumer(**shop.consumer_options, consumer_timeout_ms=200) as consumer,
    ):
        shop.subscribe(consumer, CHECKOUTS, STOCK)
        while shop.is_open:
            for record in flowtrail.processing(consumer):
                with shop.handling(record):
                    if shop.topic_of(record) == CHECKOUTS:
                        accept(shop, producer, record.value)
                    elif record.value["type"] == "released":
                        cancel(shop, producer, record.value)
                shop.commit(consumer, record)
                if not shop.is_open:
                    break


def accept(shop: Shop, producer: KafkaProducer, order: dict[str, Any]) -> None:
    """Place the order, and pass on the extras that it asks for."""
    for extra, topic in EXTRAS.items():
        if extra in order:
            shop.send(producer, topic, {"type": extra, "order": order["order"], "wish": order[extra]})
    shop.send(producer, ORDERS, {**order, "type": "placed"})


def cancel(shop: Shop, producer: KafkaProducer, order: dict[str, Any]) -> None:
    """The payment was refused and the stock is back: the order is over."""
    shop.send(producer, ORDERS, {**order, "type": "cancelled"})

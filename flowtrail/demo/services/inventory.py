"""inventory: reserves the stock of placed orders, and releases it when the payment is refused.

Its second desk, `inventory-gifts`, wraps gifts.
"""

from typing import Any

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import GIFTS, ORDERS, PAYMENTS, STOCK
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer

WRAPPING_S = {"plain": 0.0, "origami": 3.0}


def run(shop: Shop) -> None:
    """Keep the stock in step with orders and payments."""
    flowtrail.set_up("inventory")
    with KafkaProducer(**shop.producer_options) as producer, KafkaConsumer(**shop.consumer_options) as consumer:
        shop.subscribe(consumer, ORDERS, PAYMENTS)
        for record in shop.records(consumer):
            with flowtrail.process(record), shop.handling(record):
                keep_in_step(shop, producer, record.value)
            shop.commit(consumer, record)


def keep_in_step(shop: Shop, producer: KafkaProducer, event: dict[str, Any]) -> None:
    """Reserve what was ordered; release what was not paid."""
    if event["type"] == "placed":
        shop.send(producer, STOCK, {**event, "type": "reserved"})
    elif event["type"] == "refused":
        shop.send(producer, STOCK, {**event, "type": "released"})


def wrap_gifts(shop: Shop) -> None:
    """Wrap one gift after the other; some papers take their time."""
    flowtrail.set_up("inventory")
    with KafkaConsumer(**{**shop.consumer_options, "max_poll_records": 1}) as consumer:
        shop.subscribe(consumer, GIFTS)
        for record in shop.records(consumer):
            with flowtrail.process(record), shop.handling(record):
                shop.work_for(WRAPPING_S[record.value["wish"]])
            shop.commit(consumer, record)

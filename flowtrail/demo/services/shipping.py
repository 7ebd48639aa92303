"""shipping: loads whatever is paid at this moment onto one lorry: a batch of records, one shipment.

Its second desk, `shipping-labels`, prints labels; on glossy paper the printer jams until somebody clears it.
"""

import itertools
import logging
import time
from typing import Any

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import LABELS, PAYMENTS, SHIPMENTS
from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer

log = logging.getLogger(__name__)

JAM_IS_CLEARED_AFTER_S = 20


def run(shop: Shop) -> None:
    """Handle what one poll brought as one batch, under one `process` span."""
    flowtrail.set_up("shipping")
    with KafkaProducer(**shop.producer_options) as producer, KafkaConsumer(**shop.consumer_options) as consumer:
        shop.subscribe(consumer, PAYMENTS)
        lorries = itertools.count(1)
        for batch in shop.batches(consumer):
            with flowtrail.process(batch), shop.handling(*batch):
                load(shop, producer, [record.value for record in batch], lorries)
            shop.commit(consumer, *batch)


def load(shop: Shop, producer: KafkaProducer, payments: list[dict[str, Any]], lorries: "itertools.count[int]") -> None:
    """Ship what was charged, all on one lorry; an empty one does not leave."""
    orders = [payment["order"] for payment in payments if payment["type"] == "charged"]
    if orders:
        lorry = f"lorry-{next(lorries)}"
        shop.send(producer, SHIPMENTS, {"type": "shipped", "lorry": lorry, "orders": orders}, key=lorry)


def print_labels(shop: Shop) -> None:
    """Print one label after the other."""
    flowtrail.set_up("shipping")
    with KafkaConsumer(**shop.consumer_options) as consumer:
        shop.subscribe(consumer, LABELS)
        for record in shop.records(consumer):
            with flowtrail.process(record), shop.handling(record):
                print_label(shop, record.value, age_s=time.time() - record.timestamp / 1000)
            shop.commit(consumer, record)


def print_label(shop: Shop, label: dict[str, Any], age_s: float) -> None:
    """Print; glossy paper jams, and the desk waits until the label is old enough that somebody has come by."""
    if label["wish"] == "glossy" and age_s < JAM_IS_CLEARED_AFTER_S:
        log.warning("the printer is jammed with the label of order %s", label["order"])
        shop.work_for(JAM_IS_CLEARED_AFTER_S - age_s)
    log.info("label for order %s", label["order"])

"""storefront: takes the customers' orders, which come as lines of JSON on standard input."""

import json
import logging
import os
import select
from collections.abc import Iterator

from kafka.errors import KafkaError

import flowtrail
from flowtrail.demo.services.shop import Shop
from flowtrail.demo.topics import CHECKOUTS
from flowtrail.tracer.clients.kafka_python import KafkaProducer

log = logging.getLogger(__name__)


def run(shop: Shop) -> None:
    """Put every order on the `checkouts` topic until the customers are gone."""
    flowtrail.set_up("storefront")
    with KafkaProducer(**shop.producer_options) as producer:
        shop.diary.note("joined", partitions=0)
        for line in customers(shop):
            order = json.loads(line)
            try:
                shop.send(producer, CHECKOUTS, {"type": "checkout", **order})
            except KafkaError as error:
                log.warning("order %s could not be placed: %s", order["order"], error)


def customers(shop: Shop) -> Iterator[bytes]:
    """Yield the lines of standard input until it ends or the shop closes."""
    unfinished = b""
    while shop.is_open:
        if not select.select([0], [], [], 0.2)[0]:
            continue
        read = os.read(0, 1 << 20)
        if not read:
            return
        *lines, unfinished = (unfinished + read).split(b"\n")
        yield from lines

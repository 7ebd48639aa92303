"""kafka-python 3: the same producer and consumer, traced.

    from flowtrail.tracer.clients.kafka_python import KafkaConsumer, KafkaProducer

They are subclasses with the originals' signatures. Their spans go to the global tracer provider; `flowtrail.set_up()`
makes one where there is none. A program that already uses kafka-python needs none of this: `flowtrail.instrument()`
puts the same functions into kafka-python's own classes.

    producer.py      send, from the call to the acknowledgement
    serialized.py    schema ids of what its serializers make
    transactions.py  from begin to the outcome
    consumer.py      poll, iteration, seek and close
    commits.py       commits, those that the client makes by itself included
    coordinator.py   where it makes those, and where it takes part in rebalances
    received.py      records that know through which client they came
    known.py         what is remembered of each client
    replacements.py  the methods that `instrument` puts in

What is ours stays aside: an exception in it is counted, and the client is called as if we were not there.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowtrail.tracer.clients.switch import Switch

try:
    import kafka
except ImportError as missing:
    raise ImportError("kafka-python is not installed: pip install 'kafka-python>=3.0.12' crc32c") from missing

OLDEST_VERSION: Final = 3
if int(kafka.__version__.partition(".")[0]) < OLDEST_VERSION:
    raise ImportError(f"kafka-python {kafka.__version__} is too old to be traced: pip install 'kafka-python>=3.0.12'")

# Only now, so that the errors above are what is seen.
from . import serialized  # noqa: E402
from .consumer import ConsumerRecord, KafkaConsumer  # noqa: E402
from .producer import KafkaProducer  # noqa: E402
from .replacements import METHODS  # noqa: E402


def install(switch: "Switch") -> None:
    """What `instrument` calls."""
    METHODS.install(switch)
    serialized.METHODS.install(switch)


def remove() -> None:
    """What `uninstrument` calls."""
    METHODS.remove()
    serialized.METHODS.remove()


__all__ = ["ConsumerRecord", "KafkaConsumer", "KafkaProducer", "install", "remove"]

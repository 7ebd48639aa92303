"""aiokafka: the same producer and consumer, traced.

    from flowtrail.tracer.clients.aiokafka import AIOKafkaConsumer, AIOKafkaProducer

They are subclasses with the originals' signatures. Their spans go to the global tracer provider; `flowtrail.set_up()`
makes one where there is none. A program that already uses aiokafka needs none of this: `flowtrail.instrument()` puts
the same functions into aiokafka's own classes.

    producer.py      send, from the call to the answer
    batch.py         batches that the program fills by itself
    answers.py       what became of a send
    headers.py       headers that can carry a context
    serialized.py    schema ids of what its serializers make
    transactions.py  from begin to the outcome
    consumer.py      records, one by one or many at once, and seeks
    commits.py       commits, those that the client makes by itself included
    received.py      records that know through which client they came
    parts.py         what happens inside of a client: metadata, rebalances, automatic commits
    known.py         what is remembered of each client
    replacements.py  the methods that `instrument` puts in

What is ours stays aside: an exception in it is counted, and the client is called as if we were not there. Serializers
and the partitioner are the client's to call, and nothing is awaited that the client does not await itself.
"""

from typing import Final

try:
    import aiokafka
except ImportError as missing:
    raise ImportError("aiokafka is not installed: pip install 'aiokafka>=0.11'") from missing

OLDEST_VERSION: Final = (0, 11)
if tuple(int(number) for number in aiokafka.__version__.split(".")[:2]) < OLDEST_VERSION:
    raise ImportError(f"aiokafka {aiokafka.__version__} is too old to be traced: pip install 'aiokafka>=0.11'")

# Only now, so that the errors above are what is seen.
from .batch import BatchBuilder  # noqa: E402
from .consumer import AIOKafkaConsumer  # noqa: E402
from .producer import AIOKafkaProducer  # noqa: E402
from .received import ConsumerRecord  # noqa: E402
from .replacements import METHODS  # noqa: E402

# What `instrument` calls, and `uninstrument`.
install, remove = METHODS.install, METHODS.remove

__all__ = ["AIOKafkaConsumer", "AIOKafkaProducer", "BatchBuilder", "ConsumerRecord", "install", "remove"]

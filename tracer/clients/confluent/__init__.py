"""confluent-kafka: the same clients, traced.

    from flowtrail.tracer.clients.confluent import Consumer, Producer

Also SerializingProducer, DeserializingConsumer, ShareConsumer, AIOProducer and AIOConsumer; those that the installed
version does not have are None. They are subclasses that are called as the originals are. Their spans go to the global
tracer provider; `flowtrail.set_up()` makes one where there is none. A program that already uses confluent-kafka needs
none of this: `flowtrail.instrument()`, called before the program takes the classes' names, has the same functions put
in their place.

    producer.py      produce, from the call to the delivery report; batch.py: produce_batch; transactions.py
    consumer.py      poll, consume, seek and rebalances; commits.py: commits, also the client's own
    serializing.py   what fails before a record is sent, and after it came
    asynchronous.py  AIOProducer and AIOConsumer
    share.py         polls of share groups
    known.py         what is kept of each client
    classes.py       how traced classes are made of classes that are written in C
    subclasses.py    those to import; names.py: what `instrument` puts in

What is ours stays aside: an exception in it is counted, and the client is called as if we were not there.
"""

from typing import Final

try:
    import confluent_kafka
except ImportError as missing:
    raise ImportError("confluent-kafka is not installed: pip install 'confluent-kafka>=2.5'") from missing

OLDEST_VERSION: Final = (2, 5)
_found: Final = tuple(int(part) for part in str(confluent_kafka.__version__).split(".")[:2] if part.isdigit())
if _found < OLDEST_VERSION:
    raise ImportError(
        f"confluent-kafka {confluent_kafka.__version__} is too old to be traced: pip install 'confluent-kafka>=2.5'"
    )

# Only now, so that the errors above are what is seen.
from .names import Names  # noqa: E402
from .subclasses import (  # noqa: E402
    AIOConsumer,
    AIOProducer,
    Consumer,
    DeserializingConsumer,
    Producer,
    SerializingProducer,
    ShareConsumer,
)

_names: Final = Names()
# What `instrument` calls, and `uninstrument`.
install, remove = _names.install, _names.remove

__all__ = [
    "AIOConsumer",
    "AIOProducer",
    "Consumer",
    "DeserializingConsumer",
    "Producer",
    "SerializingProducer",
    "ShareConsumer",
    "install",
    "remove",
]

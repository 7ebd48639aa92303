"""Traced subclasses of confluent-kafka's clients, for programs that name them: traced always."""

from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
from confluent_kafka import cimpl

from flowtrail.tracer.clients.switch import Switch

from . import asynchronous, serializing
from .classes import mixin, over, subclass
from .consumer import consumer_methods
from .producer import producer_methods
from .share import share_consumer_methods

_MODULE: Final = "flowtrail.tracer.clients.confluent"
_ALWAYS: Final = Switch()
_ALWAYS.is_on = True


def _traced(plain: Any, methods: Any) -> Any:
    return subclass(plain, mixin(plain, methods(plain, _ALWAYS)), _MODULE)


if TYPE_CHECKING:
    from confluent_kafka import Consumer as Consumer
    from confluent_kafka import DeserializingConsumer as DeserializingConsumer
    from confluent_kafka import Producer as Producer
    from confluent_kafka import SerializingProducer as SerializingProducer
    from confluent_kafka import ShareConsumer as ShareConsumer
    from confluent_kafka.aio import AIOConsumer as AIOConsumer
    from confluent_kafka.aio import AIOProducer as AIOProducer
else:
    Producer = _traced(cimpl.Producer, producer_methods)
    Consumer = _traced(cimpl.Consumer, consumer_methods)
    ShareConsumer = _traced(cimpl.ShareConsumer, share_consumer_methods) if hasattr(cimpl, "ShareConsumer") else None

    def _over(python_class, client, **methods):
        return over(python_class, client, _MODULE, methods)

    def _each(replacements, kind):
        """The traced methods of a class, made of the originals: what `instrument` put in does not come twice."""
        import functools

        return {
            name: functools.wraps(vars(owner)[name])(make(vars(owner)[name], _ALWAYS))
            for owner, name, make in replacements
            if owner is kind
        }

    SerializingProducer = _over(
        confluent_kafka.SerializingProducer,
        (Producer,),
        **_each(serializing.REPLACEMENTS, confluent_kafka.SerializingProducer),
    )
    DeserializingConsumer = _over(
        confluent_kafka.DeserializingConsumer,
        (Consumer,),
        **_each(serializing.REPLACEMENTS, confluent_kafka.DeserializingConsumer),
    )
    AIOProducer = asynchronous.aio and _over(
        asynchronous.aio.AIOProducer,
        (),
        __init__=asynchronous.making(asynchronous.aio.AIOProducer.__init__, Producer=Producer),
        **_each(asynchronous.replacements(), asynchronous.aio.AIOProducer),
    )
    AIOConsumer = asynchronous.aio and _over(
        asynchronous.aio.AIOConsumer,
        (),
        __init__=asynchronous.making(asynchronous.aio.AIOConsumer.__init__, Consumer=Consumer),
        **_each(asynchronous.replacements(), asynchronous.aio.AIOConsumer),
    )

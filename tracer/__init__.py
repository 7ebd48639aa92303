"""The tracer: what runs in the user's process.

record.py           what an interceptor sees, whatever the client
interceptor.py      the shape of an interceptor (KIP-42) and the chain that runs them
under_way.py        a send that waits for its answer, and a transaction
headers.py          trace context in and out of record headers, by OpenTelemetry's propagators (propagation.py), or
                    straight where there is but a W3C `traceparent` (traceparent.py)
spans.py            records to attributes and links, by the semantic conventions
tracing.py          makes the spans, and the span around processing; span_error.py: what they say of exceptions
held_sends.py       sends whose spans wait for the outcome of their transaction
left_out.py         what is not traced: suppressed contexts, excluded topics
current_context.py  the context of this thread or task, asked at every record
shapes.py           what a client's spans on one topic have in common
fast_path/          note now, make spans or their bytes on another thread
processing.py       `with process(record):` and `for record in processing(consumer):`; processed.py: `@processed`
inferred.py         processing that the program says nothing about: from one record, or poll, to the next;
                    inferred_work.py: what is in hand, and its contexts; running.py: the task or job that runs here
forwarding.py       `retry_to` and `dead_letter_to`; origin.py reads such headers, also those of others
schema_ids.py       which schema a key or value was written with; serde_errors.py: what failed to be written or read
clients/            one folder for each Kafka client; clients/known.py: what is remembered of each client object
instrumentation.py  tracing put into a running program's clients, and taken out again
instrumentor.py     the same by OpenTelemetry's own command; contrib.py: beside its own instrumentations
setup.py, export.py the OpenTelemetry SDK, when the program has not set it up; children.py: in child processes
configuration.py    what can be chosen; capture.py: what of keys and headers is noted
metrics.py          the messaging metrics (measuring.py, metrics_setup.py)
counts.py           what the tracer knows about itself
attributes.py       the names on the wire, which the collector reads
"""

from .counts import Health, health
from .forwarding import dead_letter_to, retry_to
from .instrumentation import instrument, uninstrument
from .interceptor import Interceptor
from .processed import processed
from .processing import process, processing
from .setup import set_up
from .tracing import CHAIN

add_interceptor = CHAIN.add
remove_interceptor = CHAIN.remove

__all__ = [
    "Health",
    "Interceptor",
    "add_interceptor",
    "dead_letter_to",
    "health",
    "instrument",
    "process",
    "processed",
    "processing",
    "remove_interceptor",
    "retry_to",
    "set_up",
    "uninstrument",
]

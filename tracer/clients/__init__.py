"""The Kafka clients that are traced, each in a folder of its own, and what they share.

    kafka_python/, confluent/, aiokafka/    subclasses to import, and what `instrument` puts in

    known.py             what is remembered of each client: who it is, its unanswered sends, its open transaction
    methods.py           methods of a library's own classes, replaced and put back
    switch.py            whether those do anything
    lighter_headers.py   what to send when our headers make a record too large
    consumer_record.py   kafka-python's and aiokafka's records, read; message.py: confluent-kafka's
    consumer_events.py   seeks and rebalances, until the next poll's span takes them, or the client's end
    waiting_events.py    rebalances that no poll's span took, as a span of their own
    closing.py           the close of a client, as a span
    commits.py           a commit, told once it is answered
    transactions.py      the end of a transaction, told with its outcome
    undeserialized.py    records that the client's own deserializer refused

A folder imports its library; nothing beside the folders does. Folders do not import each other. Whatever a library
needs, a wrapper calls `CHAIN` (tracer/tracing.py) with plain values (tracer/record.py), and raises nothing of its own.
"""

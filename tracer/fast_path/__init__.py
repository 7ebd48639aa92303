"""The fast path: the program's thread notes, another thread makes spans of the notes, or their bytes.

deferring.py        where it is taken, and what is noted there: ids, times, and what the facts will be made of
samplers.py         the SDK's samplers, asked by ids alone
deferred_span.py    notes of what is in a program's hands, and of polls (a send's note is `under_way.Sending`)
drain.py            the queue, and the thread that empties it
hand_over.py        from there to the program's own span processors, as the SDK's spans (sdk_span.py)
noted_span.py       or as what looks like them, and is encoded by the template if nobody looked
otlp_template.py    or straight to OTLP (otlp_records.py: a consumed record; otlp_bytes.py: protobuf's fields)
otlp_grpc.py        by gRPC, where the exporter is ours
"""

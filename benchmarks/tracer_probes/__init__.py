"""Each known defect of a Kafka instrumentation as a probe: the parts of `python -m benchmarks.tracer_defects`.

traced.py        the ways of tracing, and their spans in one shape
topics.py        what lies in a topic, read by a client that nobody traces
kafka_python.py  probes, by client: functions that raise `Wrong` with what they saw
confluent.py
aiokafka.py
worker.py        one probe with one way of tracing: a process of its own
"""

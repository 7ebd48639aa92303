"""What tracing costs: the parts of `python -m benchmarks.tracer`.

peers.py      a virtual environment for the other instrumentations, which pin versions of their own
variants.py   each way of tracing: how it is switched on and off, and made to hand over its spans
loops.py      the same loop of sends, and of records consumed, for each client
worker.py     one measurement: a process that runs a loop with and without tracing in turn
footprint.py  one more: what importing the tracer takes, and what its full queue holds
receiver.py   where the spans go; it counts them
"""

"""The demo: an online shop whose services talk through Kafka, with faults that it injects and knows of."""

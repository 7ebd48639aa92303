"""Flowtrail: follow every event through Kafka."""

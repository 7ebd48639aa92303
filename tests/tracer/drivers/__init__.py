"""The drivers of the contract's sentences, one for each Kafka library that Flowtrail traces.

driver.py         what the sentences ask of a library
kafka_python.py   kafka-python
confluent.py      confluent-kafka
aiokafka.py       aiokafka, with the event loop that it needs
"""

from .aiokafka import Aiokafka
from .confluent import Confluent
from .driver import Driver
from .kafka_python import KafkaPython

DRIVERS: tuple[type[Driver], ...] = (KafkaPython, Confluent, Aiokafka)

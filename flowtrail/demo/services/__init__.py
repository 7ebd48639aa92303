"""The shop: six services, each a process of its own with its own traced Kafka clients.

python -m flowtrail.demo.services payments --bootstrap-servers 127.0.0.1:9092 --diary /tmp/shop
"""

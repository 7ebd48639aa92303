"""What the collector tells about itself: metrics in Prometheus' form, at `/metrics` of the API, and the log.

metrics.py       every metric: name, kind, labels, sentence
readings.py      those that are read from the collector's parts when somebody asks
api_requests.py  those of the API's own requests
deliveries.py    how long batches take
logs.py          how the log is written
"""

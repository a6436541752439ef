"""The way to Prometheus: its address, its credentials, one query at a time."""

"""The one client of Prometheus: its address, credentials and limits, and what of its answers is believed."""

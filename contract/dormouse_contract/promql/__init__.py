"""The one home of PromQL: what is asked of Prometheus, as text."""

"""The one home of PromQL: what operator, console, savings, dashboards and recording rules ask of Prometheus."""

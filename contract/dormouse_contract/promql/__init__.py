"""The one home of PromQL: what operator, console, savings, dashboards and rules ask of Prometheus."""

"""The Grafana dashboards as code: `make generate` writes their JSON into the chart.

Made with Grafana's own foundation SDK, so that each panel is of the types of one pinned version of Grafana.
`queries.py` holds what is asked, `style.py` how a panel looks, and one file each says what a dashboard shows.
"""

"""`dormouse-operator savings`: what sleeping saved, asked of Prometheus and printed."""

import argparse
import time

from dormouse_contract.savings.question import BadQuestion, question
from dormouse_prometheus.api import at_one_instant
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.flags import prometheus_settings

from .errors import SettingsError

# A month of a large fleet is more work for Prometheus than a look at the present.
QUERY_SECONDS = 60.0
EXAMPLES = """\
examples:
  the last week, for the whole fleet:
    dormouse-operator savings --prometheus-url http://prometheus.monitoring:9090
  one namespace over a day, as JSON, with an upper bound in money:
    dormouse-operator savings --since 1d --namespace speech --price-per-gpu-hour 2.5 --gpu-memory 80Gi -o json
"""


async def run(given: argparse.Namespace) -> str:
    """What is printed. Raises SettingsError and PrometheusError with what to do."""
    try:
        asked = question(given)
    except BadQuestion as error:
        raise SettingsError(str(error)) from error
    settings = prometheus_settings(given, patience_seconds=QUERY_SECONDS)
    connection = PrometheusConnection(settings)
    try:
        now = time.time()
        answers = await at_one_instant(connection, asked.queries(settings.selector), now)
    finally:
        await connection.close()
    return asked.answer({name: vector.samples for name, vector in answers.items()}, now)

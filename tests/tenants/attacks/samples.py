"""Series in Prometheus: more than an answer can hold, of others' names, or of more models than a pod has."""

from __future__ import annotations

from dormouse_contract import metrics

from ..bad import BadTenant
from ..listener import Handle
from ..pod_talk import exposition, models_of, polite, series
from .numbers import POLICY

TARGETS = 8
SERIES_EACH = 20_000
LABEL = "x" * 60
# Their own: at the stage's interval the scrapes of this alone would take the machine.
RARELY = {"__scrape_interval__": "5s", "__scrape_timeout__": "5s"}


def series_by_the_hundred_thousand_without_a_managed_model(bad: BadTenant) -> None:
    _flood(bad)


def series_by_the_hundred_thousand(bad: BadTenant) -> None:
    _flood(bad, polite(["main"]))
    bad.managed("flood-0", policy=POLICY)


def twenty_thousand_models_in_one_pod(bad: BadTenant) -> None:
    """In its series; asked itself, it has one."""
    names = [f"m-{number}" for number in range(20_000)]
    lines = [f'{metrics.RESIDENCY.name}{{model="{name}",residency="GPU"}} 1' for name in names]
    bad.pod("pod", bad.serve(polite(["main"]), lambda: exposition(lines)))
    bad.managed("pod", policy=POLICY)
    bad.scrape()
    bad.until_scraped(len(names))


def labels_as_long_as_they_get(bad: BadTenant) -> None:
    """Two hundred models whose names have 20,000 characters."""
    names = [f"{number:04d}" + "x" * 20_000 for number in range(200)]
    lines = [line for name in names for line in series(name)]
    bad.pod("pod", bad.serve(polite(["main"]), lambda: exposition(lines)))
    bad.managed("pod", policy=POLICY)
    bad.scrape()
    bad.until_scraped(len(names))


def series_of_somebody_else(bad: BadTenant) -> None:
    """By a monitor of its own that honours labels: every honest model is in use, and idle, and asleep."""
    lines = [
        line.replace("{", f'{{namespace="{namespace}",pod="{pod}",', 1)
        for namespace, pod, _ in bad.neighbours
        for line in series("main", {metrics.IN_FLIGHT.name: "1", metrics.IDLE_SINCE.name: "0"}, residency="CPU")
    ]
    bad.pod("pod", bad.serve(polite(["main"]), models_of(["main"])))
    bad.managed("pod", policy=POLICY)
    bad.scrape()
    bad.scrape("forged", [bad.serve(None, lambda: exposition(lines))], honor_labels=True)
    bad.until_scraped(1, f'job="{bad.namespace}-forged"')


def _flood(bad: BadTenant, control: Handle | None = None) -> None:
    def text(target: int) -> bytes:
        return exposition(
            f'{metrics.RESIDENCY.name}{{model="{LABEL}-{target}-{number}",residency="GPU"}} 1'
            for number in range(SERIES_EACH)
        )

    for target in range(TARGETS):
        body = text(target)
        bad.pod(f"flood-{target}", bad.serve(control, lambda body=body: body), labels_of_scrape=RARELY)
    bad.scrape()
    bad.until_scraped(TARGETS * SERIES_EACH)

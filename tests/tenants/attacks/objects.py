"""Objects of the API server: dear to understand, many, large, or never at rest."""

from __future__ import annotations

from typing import Any

from dormouse_operator.keys.trust import CONFIG_MAP_NAME

from localcluster.errors import ApiRefused

from ..bad import BadTenant
from ..pod_talk import models_of, polite, silence
from .numbers import POLICY
from .silence import MANY_MODELS

WINDOWS = 32
DEAR_CRONS = ("0 0 * 2 1#5", "0 0 29 2 1#5", "59 23 31 12 7#5", "0 0 L 2 3")
FILLER_BYTES = 1_040_000


def dear_schedules(bad: BadTenant) -> None:
    """Twenty ManagedModels with as many windows as the schema takes, each of them years away, and pods at no rest."""
    models = [f"m-{number}" for number in range(8)]
    ip = bad.serve(polite(models, silence), models_of(models))

    def make(number: int) -> None:
        name = f"pod-{number}"
        cron = DEAR_CRONS[number % len(DEAR_CRONS)]
        bad.pod(name, ip)
        bad.managed(name, policy=POLICY | {"schedule": _windows(cron)})

    bad.side_by_side(lambda n=n: make(n) for n in range(20))
    bad.scrape()


def a_managed_model_that_changes_fifty_times_a_second(bad: BadTenant) -> None:
    names = MANY_MODELS[:20]
    bad.pod("pod", bad.serve(polite(names), models_of(names)))
    bad.managed("pod", policy=POLICY | {"schedule": _windows("0 8 * * 1-5")})
    bad.scrape()
    bad.repeat(50, lambda turn: bad.change("pod", {"policy": {"minResidentSeconds": turn % 100}}))


def pods_that_come_and_go(bad: BadTenant) -> None:
    """Ten a second, each there for three seconds."""
    ip = bad.serve(polite(["main"], silence), models_of(["main"]))
    bad.managed("pod", policy=POLICY)

    def turn(number: int) -> None:
        bad.pod(f"pod-{number}", ip, app="pod", scraped=False)
        if number >= 30:
            bad.remove_pod(f"pod-{number - 30}")

    bad.repeat(10, turn)


def rivals_for_one_pod(bad: BadTenant) -> None:
    """Two hundred ManagedModels that all want the same 300 models."""
    bad.pod("pod", bad.serve(polite(MANY_MODELS, silence), models_of(MANY_MODELS)))
    bad.side_by_side(lambda n=n: bad.managed(f"rival-{n}", app="pod", policy=POLICY) for n in range(200))
    bad.scrape()


def large_objects(bad: BadTenant) -> None:
    """As large as the API server takes them, in annotations and labels that nobody asked for."""
    annotations = {f"example.com/{number}": "x" * 50_000 for number in range(5)}
    ip = bad.serve(polite(["main"]), models_of(["main"]))
    labels = {f"label-{number}": f"value-{number}" for number in range(500)}

    def make(number: int) -> None:
        bad.pod(f"pod-{number}", ip, labels=labels)
        bad.managed(f"pod-{number}", metadata={"annotations": annotations, "labels": labels}, policy=POLICY)

    bad.side_by_side(lambda n=n: make(n) for n in range(20))
    bad.scrape()


def trust_that_may_not_be_changed(bad: BadTenant) -> None:
    bad.request("POST", "configmaps", _config_map(immutable=True, data={"mine": "first"}))
    _awaited(bad)


def trust_that_is_full(bad: BadTenant) -> None:
    bad.request("POST", "configmaps", _config_map(data={"mine": "x" * FILLER_BYTES, "more": "x" * 8_000}))
    _awaited(bad)


def trust_that_is_taken_away(bad: BadTenant) -> None:
    """Twenty times a second, as often as it is brought."""
    _awaited(bad)

    def take(turn: int) -> None:
        try:
            bad.request("DELETE", f"configmaps/{CONFIG_MAP_NAME}")
        except ApiRefused as refused:
            if refused.status != 404:
                raise

    bad.repeat(20, take)


def _awaited(bad: BadTenant) -> None:
    bad.pod("pod", bad.serve(polite(["main"]), models_of(["main"])))
    bad.managed("pod", policy=POLICY)
    bad.scrape()


def _config_map(**content: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP_NAME}, **content}


def _windows(cron: str) -> list[dict[str, Any]]:
    return [
        {"name": f"w-{number}", "cron": cron, "timeZone": "Asia/Shanghai", "durationSeconds": 60, "residency": "GPU"}
        for number in range(WINDOWS)
    ]

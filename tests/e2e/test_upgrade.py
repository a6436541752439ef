"""An upgrade of the chart keeps the CRD, the objects and what they say, and no client notices."""

from __future__ import annotations

from .conftest import INSTALL
from .stage import CHART, Stage
from .traffic import Traffic, ask


def test_helm_upgrade_keeps_a_live_managed_model_and_loses_no_request(
    stage: Stage, speech: str, url: str, release: str
) -> None:
    assert ask(url).failure == ""
    before = stage.get("managedmodels", "embeddings", speech)
    crd = stage.get("customresourcedefinitions", "managedmodels.dormouse.dev", speech)
    key = stage.get("secrets", "dormouse-operator-key", release)
    old_pods = {pod["metadata"]["name"] for pod in stage.pods(release, "app.kubernetes.io/component=operator")}
    with Traffic(url) as traffic:
        stage.helm(
            "upgrade", "dormouse", str(CHART), "--namespace", release, "--wait", "--timeout=120s", *INSTALL,
            "--set=logLevel=debug",
        )  # fmt: skip
    assert [answer.failure for answer in traffic.failures] == []
    after = stage.get("managedmodels", "embeddings", speech)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert (
        stage.get("customresourcedefinitions", "managedmodels.dormouse.dev", speech)["metadata"]["uid"]
        == (crd["metadata"]["uid"])
    )
    assert stage.get("secrets", "dormouse-operator-key", release)["data"] == key["data"]
    new_pods = {pod["metadata"]["name"] for pod in stage.pods(release, "app.kubernetes.io/component=operator")}
    assert not old_pods & new_pods


def test_the_new_operator_goes_on_where_the_old_one_was(stage: Stage, speech: str, url: str) -> None:
    assert ask(url).failure == ""

    def unloaded() -> bool:
        return bool(stage.status(speech, "embeddings").get("replicas", {}).get("unloaded") == 2)

    stage.until("unloaded by the new operator", unloaded, seconds=120)

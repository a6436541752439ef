"""What is put into a pod: what is missing, once, and nothing that the pod has already is changed."""

from typing import Any

import pytest
from dormouse_operator.keys.trust import CONFIG_MAP_NAME
from dormouse_operator.webhook.injection import TRUST_CONFIG_MAP, Injection, inject, sidecar
from dormouse_operator.webhook.settings import SidecarSettings
from hypothesis import given
from hypothesis import strategies as st

from .pods import Pod, patched, pod

SETTINGS = SidecarSettings("sidecar:1", resources={"limits": {"memory": "192Mi"}})


def injected(body: Pod) -> Pod:
    done = inject(body, SETTINGS)
    assert not done.warnings
    assert done.patch
    return patched(body, done.patch)


def test_a_bare_pod_gets_sidecar_socket_trust_and_label() -> None:
    result = injected(pod())
    spec, (model,) = result["spec"], result["spec"]["containers"]
    assert spec["initContainers"] == [sidecar(SETTINGS)]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"
    assert spec["volumes"] == [
        {"name": "dormouse-run", "emptyDir": {}},
        {"name": "dormouse-trust", "configMap": {"name": CONFIG_MAP_NAME, "optional": True}},
    ]
    assert model["env"] == [{"name": "DORMOUSE_SOCKET", "value": "/run/dormouse/model.sock"}]
    assert model["volumeMounts"] == [{"name": "dormouse-run", "mountPath": "/run/dormouse"}]
    assert result["metadata"]["labels"] == {"dormouse.dev/inject": "true", "dormouse.dev/sidecar": "true"}


def test_the_trust_is_the_one_that_the_operator_publishes() -> None:
    assert TRUST_CONFIG_MAP == CONFIG_MAP_NAME


def test_what_the_pod_has_stays_and_comes_first() -> None:
    before = pod(
        initContainers=[{"name": "download"}],
        volumes=[{"name": "weights"}],
        model={"env": [{"name": "A", "value": "b"}], "volumeMounts": [{"name": "weights", "mountPath": "/w"}]},
    )
    after = injected(before)
    (model,) = after["spec"]["containers"]
    assert [c["name"] for c in after["spec"]["initContainers"]] == ["download", "dormouse-sidecar"]
    assert [v["name"] for v in after["spec"]["volumes"]] == ["weights", "dormouse-run", "dormouse-trust"]
    assert [e["name"] for e in model["env"]] == ["A", "DORMOUSE_SOCKET"]
    assert [m["mountPath"] for m in model["volumeMounts"]] == ["/w", "/run/dormouse"]


def test_a_pod_that_has_it_all_is_left_alone() -> None:
    assert inject(injected(pod()), SETTINGS) == Injection()


def test_a_sidecar_written_by_hand_is_left_alone() -> None:
    by_hand = pod(initContainers=[{"name": "orders", "ports": [{"containerPort": 7443}]}])
    by_hand["metadata"]["labels"]["dormouse.dev/sidecar"] = "true"
    assert inject(by_hand, SETTINGS) == Injection()


def test_the_annotation_says_which_container_has_the_model() -> None:
    before = pod(annotations={"dormouse.dev/container": "other"})
    before["spec"]["containers"].append({"name": "other"})
    model, other = injected(before)["spec"]["containers"]
    assert "env" not in model
    assert other["env"][0]["name"] == "DORMOUSE_SOCKET"


@pytest.mark.parametrize("way", ["annotation", "environment"])
def test_the_socket_may_be_elsewhere(way: str) -> None:
    if way == "annotation":
        after = injected(pod(annotations={"dormouse.dev/socket": "/var/run/my/tts.sock"}))
    else:
        after = injected(pod(model={"env": [{"name": "DORMOUSE_SOCKET", "value": "/var/run/my/tts.sock"}]}))
    (model,), (added,) = after["spec"]["containers"], after["spec"]["initContainers"]
    assert model["env"] == [{"name": "DORMOUSE_SOCKET", "value": "/var/run/my/tts.sock"}]
    assert {"name": "DORMOUSE_SOCKET", "value": "/var/run/my/tts.sock"} in added["env"]
    assert {m["mountPath"] for m in (*model["volumeMounts"], added["volumeMounts"][0])} == {"/var/run/my"}


def test_a_folder_that_the_model_has_for_its_socket_is_shared() -> None:
    mount = {"name": "mine", "mountPath": "/run/dormouse/"}
    after = injected(pod(volumes=[{"name": "mine", "emptyDir": {}}], model={"volumeMounts": [mount]}))
    assert [v["name"] for v in after["spec"]["volumes"]] == ["mine", "dormouse-trust"]
    assert after["spec"]["containers"][0]["volumeMounts"] == [mount]
    assert after["spec"]["initContainers"][0]["volumeMounts"][0] == mount


@pytest.mark.parametrize(
    ("of_pod", "of_container", "user", "group"),
    [
        pytest.param(None, None, 10001, 10001, id="nothing said: they meet in the pod's group"),
        pytest.param({}, None, 10001, 10001, id="an empty context"),
        pytest.param({"fsGroup": 7}, {"runAsUser": 5}, 10001, 7, id="the pod has a group"),
        pytest.param({"runAsUser": 5}, None, 5, None, id="the pod's user"),
        pytest.param({"runAsUser": 5}, {"runAsUser": 6}, 6, None, id="the container's user beats the pod's"),
        pytest.param({"runAsUser": 5}, {"runAsUser": 0}, 10001, 10001, id="root: the sidecar stays without rights"),
    ],
)
def test_both_reach_the_socket(
    of_pod: dict[str, Any] | None, of_container: dict[str, Any] | None, user: int, group: int | None
) -> None:
    before = pod(
        **({} if of_pod is None else {"securityContext": of_pod}),
        model={} if of_container is None else {"securityContext": of_container},
    )
    after = injected(before)["spec"]
    assert after["initContainers"][0]["securityContext"]["runAsUser"] == user
    assert (after.get("securityContext") or {}).get("fsGroup") == group
    assert after["containers"][0].get("securityContext") == of_container


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(pod(annotations={"dormouse.dev/container": "no"}), "write one of model", id="no such container"),
        pytest.param(pod(annotations={"dormouse.dev/socket": "model.sock"}), "no absolute path", id="a relative path"),
        pytest.param(pod(annotations={"dormouse.dev/socket": "/model.sock"}), "folder of its own", id="the root"),
        pytest.param(pod(annotations={"dormouse.dev/socket": "/a/../b/c"}), "no absolute path", id="upwards"),
        pytest.param(pod(annotations={"dormouse.dev/socket": "/a/" + "b" * 90}), "at most 90", id="too long"),
        pytest.param(
            pod(
                annotations={"dormouse.dev/socket": "/a/b"},
                model={"env": [{"name": "DORMOUSE_SOCKET", "value": "/c/d"}]},
            ),
            "/c/d",
            id="two answers",
        ),
        pytest.param(pod(hostNetwork=True), "node's network", id="the node's network"),
        pytest.param(pod(os={"name": "windows"}), "Linux", id="windows"),
        pytest.param({}, "no pod", id="nothing"),
        pytest.param({"spec": {"containers": []}}, "no pod", id="no containers"),
    ],
)
def test_nonsense_is_a_warning_and_never_a_refusal(body: Pod, said: str) -> None:
    done = inject(body, SETTINGS)
    assert done.patch == ()
    assert "no sidecar was injected" in done.warnings[0]
    assert said in done.warnings[0]


names = st.sampled_from(["a", "b", "model", "dormouse-run", "dormouse-trust"])
contexts = st.none() | st.fixed_dictionaries(
    {}, optional={"fsGroup": st.integers(0, 3), "runAsUser": st.integers(0, 3)}
)
containers = st.fixed_dictionaries(
    {"name": names},
    optional={
        "env": st.none() | st.lists(st.fixed_dictionaries({"name": names, "value": names})),
        "volumeMounts": st.none()
        | st.lists(st.fixed_dictionaries({"name": names, "mountPath": st.sampled_from(["/a", "/run/dormouse"])})),
        "securityContext": contexts,
    },
)
pods = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({}, optional={"labels": st.none() | st.dictionaries(names, names)})},
    optional={
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3)},
            optional={
                "initContainers": st.none() | st.lists(containers, max_size=2),
                "volumes": st.none() | st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
                "securityContext": contexts,
            },
        )
    },
)


@given(pods)
def test_whatever_the_pod_the_second_time_adds_nothing(body: Pod) -> None:
    after = patched(body, inject(body, SETTINGS).patch)
    assert inject(after, SETTINGS).patch == ()
    for before, now in zip(
        body.get("spec", {}).get("containers", ()), after.get("spec", {}).get("containers", ()), strict=True
    ):
        assert before["name"] == now["name"]
        assert (now.get("env") or [])[: len(before.get("env") or [])] == (before.get("env") or [])

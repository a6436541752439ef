"""Two installations that manage the same objects say so; shards, replicas and a change of hands do not."""

from __future__ import annotations

import logging
import time
from typing import Any

import httpx
import pytest
from dormouse_operator.cluster.rivals import MOST_RIVALS, Rivals, field_manager

from tests.waiting import eventually

from .fake_pod import FakeModel
from .objects import managed_model
from .world import World

OWN, OTHER = field_manager("system", "lease"), field_manager("elsewhere", "lease")


class Seen:
    """What one operator sees of a ManagedModel; `now` is its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rivals = Rivals(OWN, monotonic=lambda: self.now)

    def written(self, *writes: tuple[str, str], name: str = "tts", subresource: str = "status") -> None:
        body = managed_model(name)
        body["metadata"]["managedFields"] = [
            {"manager": manager, "time": at, "subresource": subresource, "operation": "Update"}
            for manager, at in writes
        ]
        self.rivals.observe(body)

    @property
    def shared(self) -> dict[tuple[str, ...], float]:
        return dict(self.rivals.shared())


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_one_that_goes_on_writing_what_is_ours_is_said_once_an_hour(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for minute in range(50):
            seen.now = 60.0 * minute
            for name in ("tts", "asr"):
                seen.written((OWN, "1"), (OTHER, str(minute)), name=name)
    assert seen.shared == {("elsewhere.lease",): 2.0}
    (record,) = caplog.records
    assert record.getMessage().startswith("Another operator, elsewhere.lease, manages speech/tts too")
    seen.now += 3600
    assert seen.shared == {}, "it is gone"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([(OWN, "1")], [(OWN, "2")], id="our own replicas"),
        pytest.param([(OTHER, "1")], [(OTHER, "1"), (OWN, "2")], id="handed over to us"),
        pytest.param([(OTHER, "1")], [(OTHER, "1"), (OWN, "3")], id="and written again and again"),
        pytest.param([("kubectl", "1")], [("kubectl", "2")], id="a person"),
        pytest.param([("dormouse-operator.\x1b[31m", "1")], [("dormouse-operator.\x1b[31m", "2")], id="no name"),
        pytest.param([("dormouse-operator", "1")], [("dormouse-operator", "2")], id="an older version"),
    ],
)
def test_who_does_not_share_is_not_said_to(
    seen: Seen, before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    seen.written(*before)
    seen.now = 3600
    seen.written(*after)
    seen.now = 7200
    seen.written(*after)
    assert seen.shared == {}


def test_a_last_write_of_who_had_it_before_is_none(seen: Seen) -> None:
    seen.written((OTHER, "1"))
    seen.now = 30
    seen.written((OTHER, "2"))
    seen.now = 300
    seen.written((OTHER, "2"), (OWN, "3"))
    assert seen.shared == {}


def test_the_spec_is_anybodys_to_write(seen: Seen) -> None:
    for minute in range(5):
        seen.now = 60.0 * minute
        seen.written((OTHER, str(minute)), subresource="")
    assert seen.shared == {}


def test_made_up_names_are_bounded(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    for minute in range(3):
        seen.now = 100.0 * minute
        seen.written(*((f"{OTHER}-{number}", str(minute)) for number in range(500)))
    assert len(seen.shared) == len(caplog.records) == MOST_RIVALS


@pytest.mark.parametrize("fields", [None, [], [{}], [{"manager": 7, "subresource": "status", "time": None}]])
def test_odd_fields_are_borne(seen: Seen, fields: Any) -> None:
    body = managed_model()
    body["metadata"]["managedFields"] = fields
    seen.rivals.observe(body)
    assert seen.shared == {}


def test_what_another_operator_writes_on_the_api_server_is_noticed(world: World) -> None:
    """This test is the other one."""
    world.add_pod("tts-0", {"tts": FakeModel(idle_since=time.time() - 100)}, app="tts")
    world.apply("tts", model="tts")
    world.operator.start()
    world.trust()
    world.wait_for("tts", "Ready", "True", "AsDesired")
    fields = world.managed_model("tts")["metadata"]["managedFields"]
    writers = {entry["manager"] for entry in fields if entry.get("subresource") == "status"}
    assert writers == {field_manager("dormouse-system", "")}
    path = f"/apis/dormouse.dev/v1alpha1/namespaces/{world.namespace}/managedmodels/tts/status?fieldManager={OTHER}"
    written = iter(range(1000))

    def is_noticed() -> bool:
        status = {"status": {"observedGeneration": 1000 + next(written)}}
        world.control_plane.api.request("PATCH", path, status, content_type="application/merge-patch+json")
        time.sleep(5)  # the pace of its writes, nothing is waited for
        metrics = httpx.get(f"http://127.0.0.1:{world.operator.metrics_port}/metrics", trust_env=False, timeout=10)
        return 'dormouse_operator_shared_managed_models{operator="elsewhere.lease"} 1.0' in metrics.text

    eventually("it is noticed", is_noticed, deadline_seconds=120)
    assert world.operator.log.count("Another operator, elsewhere.lease, manages ") == 1

"""The first lines of the log: what is managed, by which rules, and where to look."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dormouse_modelserver.command.announcement import lines, page_address
from dormouse_modelserver.command.serve_settings import ServeSettings

from tests.modelserver.lifecycle.conftest import Loads, Manage, manage

__all__ = ["manage"]  # the fixture

Told = Callable[..., list[str]]


@pytest.fixture
def told(manage: Manage) -> Callable[..., list[str]]:
    def told(models: dict[str, dict[str, Any]] | None = None, *, sidecar: bool = False, **own: Any) -> list[str]:
        given = {"idle_timeout": 600.0, "unload_timeout": None, "after_task": "keep"} | own
        manager = manage("sim:1536MiB", **given)
        for name, settings in (models or {}).items():
            manager.register(name, load=Loads(), **settings)
        where = {"host": "127.0.0.1", "port": 7860, "device": "sim", "project_dir": Path(), "behind_sidecar": sidecar}
        return list(lines(ServeSettings(models={}, app="a:b", **where, **given), manager))

    return told


def test_device_memory_and_rules_are_told(told: Told) -> None:
    assert told() == [
        "device sim:1536MiB (simulated, no GPU), memory 1.5 GiB; "
        "idle timeout 600 s, unload timeout never, after task keep",
        "page http://127.0.0.1:7860/dormouse/",
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "the idle ladder is switched off: weights that came to the GPU stay there until somebody moves them"),
        ({"after_task": "offload"}, "switched off: weights leave the GPU after each task, never by idleness"),
        ({"sidecar": True}, "the operator's policy decides; while it lends none, nothing sleeps by idleness"),
        ({"unload_timeout": 7200.0}, "switched off: weights stay on the GPU until 7200 s idle"),
    ],
    ids=["alone", "with offload after each task", "behind a sidecar", "with an unload"],
)
def test_never_is_said_to_switch_the_ladder_off(told: Told, settings: dict[str, Any], says: str) -> None:
    assert told(idle_timeout=None, **settings)[1].endswith(says)


def test_what_a_model_has_of_its_own_is_told(told: Told) -> None:
    own = {"idle_timeout": math.inf, "unload_timeout": 7200, "after_task": "offload"}
    assert told(models={"tts": own, "asr": {}})[1:-1] == [
        "model tts: idle timeout never, unload timeout 7200 s, after task offload",
        "model asr: as above",
    ]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/dormouse/"),
        ("0.0.0.0", "http://127.0.0.1:80/dormouse/"),  # noqa: S104 - not listened on
        ("::", "http://127.0.0.1:80/dormouse/"),
        ("::1", "http://[::1]:80/dormouse/"),
        ("gpu-box", "http://gpu-box:80/dormouse/"),
    ],
)
def test_the_pages_address_can_be_clicked(host: str, address: str) -> None:
    assert page_address(host, 80) == address

"""What a caller gives wrongly is told where it was given, in a sentence, and nothing has happened then."""

from typing import Any

import pytest
from dormouse_modelserver import ConfigurationError, Model, Residency, ResidencyManager
from starlette.applications import Starlette
from torch import nn

from .conftest import Loads, Manage

TTS = Model[nn.Linear]


@pytest.mark.parametrize("given", ["Unloaded", "gpu", 1, None])
async def test_a_residency_is_no_text(tts: TTS, loads: Loads, given: Any) -> None:
    with pytest.raises(TypeError, match=r"Residency\.GPU, Residency\.CPU, Residency\.UNLOADED\. Nothing was moved"):
        tts.move_to(given)
    with pytest.raises(TypeError, match="amove_to"):
        await tts.amove_to(given)
    assert (loads.count, tts.snapshot().transition) == (0, None)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("600", TypeError, "write a number of seconds, 600, not a text"),
        (-1, ValueError, "write 0 or more"),
        (float("nan"), ValueError, "write 0 or more"),
        (True, TypeError, "write a number of seconds"),
    ],
)
def test_seconds_of_a_call_are_a_number(tts: TTS, given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        tts.on_gpu(timeout=given)
    with pytest.raises(error, match=says):
        tts.move_to(Residency.CPU, if_idle_for=given)
    assert tts.snapshot().residency is Residency.UNLOADED


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"idle_timeout": "600"}, "model 'asr': idle_timeout is '600': write a number of seconds, 600, not a text"),
        ({"idle_timeout": "ten"}, "write a number of seconds, or None"),
        ({"unload_timeout": -5}, "unload_timeout is -5: write 0 or more seconds"),
        ({"idle_timeout": True}, "idle_timeout is True"),
        ({"idle_timeout": 60, "unload_timeout": 30}, "the unload must come later"),
        ({"after_task": "drop"}, "after_task is 'drop'; write 'keep' or 'offload'"),
        ({"unload_changes": "ask"}, "unload_changes is 'ask'; write 'refuse' or 'discard'"),
        ({"mirror": "none"}, "mirror is 'none'; write 'auto' or"),
        ({"modules": ["encoder"]}, "modules is .*, which can't be called; give a function that picks"),
        ({"warm_up": 5}, "warm_up is 5, which can't be called"),
        ({"load": "m:f"}, "give a function that returns the model"),
    ],
)
def test_a_model_registered_wrongly_is_refused(manager: ResidencyManager, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        manager.register("asr", **{"load": Loads(), **settings})
    assert len(manager) == 0, "nothing is registered"


@pytest.mark.parametrize("name", [5, None, "TTS", ""])
def test_a_name_is_a_text_of_the_contract(manager: ResidencyManager, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="write lower-case letters"):
        manager.register(name, load=Loads())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"device": 0}, "device is 0; write a text, for example 'cuda:0'"),
        ({"idle_timeout": "600"}, "idle_timeout is"),
        ({"wake_budget": "30"}, "wake_budget is '30'"),
    ],
)
def test_a_manager_made_wrongly_is_refused(manage: Manage, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        manage(**settings)


def test_only_an_app_that_takes_routes_can_be_installed_into(manager: ResidencyManager) -> None:
    wrong: Any = Starlette()
    with pytest.raises(TypeError, match="give your FastAPI app, or start any other ASGI app with `dormouse"):
        manager.install(wrong)

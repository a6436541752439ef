"""`dormouse-modelserver check`: what would go wrong on a GPU is found without one, with the line to look at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dormouse_modelserver.cli import main

APP = """
import asyncio
import dataclasses
import numpy as np
import torch
from torch import nn
from fastapi import FastAPI

class Wrapper:
    def __init__(self):
        self.model, self.device = nn.Linear(8, 8), torch.device("cpu")

def load():
    torch.manual_seed(0)
    return Wrapper()

def right(wrapper):
    return {"answer": wrapper.model(torch.ones(2, 8).to(wrapper.device)), "length": 2}

def wrong(wrapper):
    return wrapper.model(torch.ones(2, 8))

def to_numpy(wrapper):
    return wrapper.model(torch.ones(2, 8, device=wrapper.device)).detach().numpy()

def counts(wrapper):
    wrapper.count = getattr(wrapper, "count", 0) + 1
    return wrapper.count

def learns(wrapper):
    with torch.no_grad():
        wrapper.model.bias.fill_(1)
    return right(wrapper)

def raises(wrapper):
    raise ValueError("no voice")

def exits(wrapper):
    raise SystemExit(0)

class Answer:
    def __init__(self, **parts):
        self.__dict__.update(parts)

async def waits(wrapper):
    await asyncio.sleep(0)
    return right(wrapper)

def streams(wrapper):
    for _ in range(2):
        yield right(wrapper)

async def streams_and_waits(wrapper):
    for _ in range(2):
        yield right(wrapper)

def streams_wrong(wrapper):
    yield wrapper.model(torch.ones(2, 8))

def in_an_object(wrapper):
    return Answer(audio=right(wrapper), rate=np.float32(1))

def in_a_dataclass(wrapper):
    return Sound(right(wrapper)["answer"], float("nan"))

@dataclasses.dataclass
class Sound:
    audio: torch.Tensor
    loudness: float

def no_numbers(wrapper):
    return [float("nan"), torch.full((2,), torch.nan), np.array([np.nan]), {"a": np.array(["text"])}]

def objects_in_numpy(wrapper):
    return np.array(["text", None], dtype=object)

def incomparable(wrapper):
    return object()

def takes_nothing():
    return 1

def casts_and_draws(wrapper):
    generator = torch.Generator(device=wrapper.device).manual_seed(3)
    with torch.autocast(device_type=wrapper.device.type, dtype=torch.bfloat16):
        return right(wrapper), torch.randn(3, device=wrapper.device, generator=generator)

def pins(wrapper):
    return torch.ones(2).pin_memory()

async def load_later():
    return Wrapper()

made = nn.Linear(8, 8)

def sparse():
    return nn.ParameterDict({"plain": nn.Parameter(torch.ones(8)), "odd": nn.Parameter(torch.eye(4).to_sparse())})

def create_app(residency):
    residency.register("good", load)
    residency.register("bad", load, warm_up=wrong)
    return FastAPI()

def nothing(residency):
    return FastAPI()

def breaks():
    raise RuntimeError("no such file: weights.bin")
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "checked_app.py").write_text(APP)
    monkeypatch.setenv("PROJECT_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "checked_app", raising=False)

    def run(target: str, *options: str) -> tuple[int, str, str]:
        status = main(["check", f"checked_app:{target}", *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def example(name: str) -> tuple[str, str]:
    return "--example", f"checked_app:{name}"


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(APP.splitlines(), 1) if text in line)


def test_a_model_that_can_sleep_is_described(run: Run) -> None:
    status, out, _ = run("load", *example("right"))
    assert status == 0
    assert "model: 2 tensors, 512 bytes move to the GPU and back" in out
    assert "names the device, and follows: device" in out
    assert "answers the same after a sleep" in out


@pytest.mark.parametrize(
    ("name", "line"),
    [("wrong", "return wrapper.model(torch.ones(2, 8))"), ("to_numpy", ".detach().numpy()")],
)
def test_devices_that_meet_are_found_with_the_line_of_the_users_code(run: Run, name: str, line: str) -> None:
    status, out, _ = run("load", *example(name))
    assert status == 1
    assert f"PROBLEM: mixes devices (checked_app.py, line {line_of(line)})" in out


def test_a_warm_up_that_mixes_is_found_and_the_other_model_is_well(run: Run) -> None:
    status, out, _ = run("create_app")
    assert status == 1
    assert "good: 2 tensors" in out
    assert out.count("PROBLEM") == 1
    assert f"mixes devices (checked_app.py, line {line_of('return wrapper.model(torch.ones(2, 8))')})" in out


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("load", example("counts"), "the answer after a sleep is another one"),
        ("load", example("raises"), "ValueError: no voice (checked_app.py"),
        ("load", example("exits"), "SystemExit: 0 (checked_app.py"),
        ("load", example("pins"), "the simulated device can't do this, so it was not checked (checked_app.py"),
        ("load_later", (), "returned a coroutine; write `def`, not `async def`"),
        ("breaks", (), "RuntimeError: no such file: weights.bin"),
        ("nothing", (), "no model was registered"),
    ],
)
def test_what_else_can_go_wrong_is_said(run: Run, target: str, options: tuple[str, ...], said: str) -> None:
    status, out, _ = run(target, *options)
    assert (status, said in out) == (1, True), out


@pytest.mark.parametrize(
    "name",
    ["waits", "streams", "streams_and_waits", "in_an_object", "in_a_dataclass", "no_numbers", "objects_in_numpy",
     "casts_and_draws"],
)  # fmt: skip
def test_answers_of_every_kind_are_compared(run: Run, name: str) -> None:
    status, out, _ = run("load", *example(name))
    assert (status, "answers the same after a sleep" in out) == (0, True), out


def test_a_stream_is_read_to_its_end(run: Run) -> None:
    status, out, _ = run("load", *example("streams_wrong"))
    assert (status, "PROBLEM: mixes devices" in out) == (1, True), out


def test_of_answers_that_can_not_be_compared_nothing_is_said(run: Run) -> None:
    status, out, _ = run("load", *example("incomparable"))
    assert (status, "answer" in out) == (0, False), out


def test_what_a_wake_would_advise_is_no_advice_here(run: Run) -> None:
    assert "Waiting" not in run("load_later")[1]


def test_what_moves_apart_and_what_changes_is_named(run: Run) -> None:
    status, out, _ = run("sparse")
    assert "not in the arena: odd: its layout is torch.sparse_coo" in out
    assert status == 0
    status, out, _ = run("load", *example("learns"))
    assert "changed while in use" in out


def test_the_report_comes_as_json_too(run: Run) -> None:
    status, out, _ = run("create_app", "--json")
    report: dict[str, Any] = json.loads(out)
    assert (status, report["ok"]) == (1, False)
    good, bad = report["models"]
    assert (good["name"], good["ok"], good["tensors"], good["says_where"]) == ("good", True, 2, ["device"])
    assert (bad["name"], bad["ok"], len(bad["problems"])) == ("bad", False, 1)


def test_an_example_that_takes_no_model_is_told_in_one_sentence(run: Run) -> None:
    status, _, err = run("load", *example("takes_nothing"))
    assert (status, "write def say_hello(model)" in err, err.count("\n")) == (2, True, 1), err


def test_a_model_that_exists_already_is_no_load(run: Run) -> None:
    status, _, err = run("made")
    assert (status, "'made' is a Linear that exists already" in err) == (2, True), err


@pytest.mark.parametrize(("target", "said"), [("lode", "did you mean 'load'?"), ("", "write package.module:function")])
def test_a_name_that_is_wrong_is_told_in_one_sentence(run: Run, target: str, said: str) -> None:
    status, _, err = run(target)
    assert (status, said in err, err.count("\n")) == (2, True, 1), err

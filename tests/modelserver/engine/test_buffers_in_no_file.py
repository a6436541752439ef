"""Non-persistent buffers are in no file. Built on the meta device, they are taken from `build` once more."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_modelserver import LoadFailed
from dormouse_modelserver.engines.torch.layout.from_safetensors import Safetensors
from dormouse_modelserver.engines.torch.layout.unsaved_buffers import build_with_buffers
from dormouse_modelserver.engines.torch.weights import Weights
from safetensors.torch import save_file
from torch import nn

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Rotary(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        inverse = 1.0 / (10_000.0 ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim))
        self.register_buffer("inv_freq", inverse, persistent=False)
        self.register_buffer("again", self.inv_freq, persistent=False)
        self.plain = torch.full((3,), 2.0)
        self.listed = [torch.eye(2)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rotary = nn.Embedding(16, 8), Rotary()
        self.head = nn.Linear(8, 16, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("steps", torch.tensor(3))


def within_meta() -> Net:
    with torch.device("meta"):
        return Net()


def moved_to_meta() -> Net:
    net = Net().to("meta")
    net.head.weight = net.embedding.weight  # torch makes a parameter of its own of each name
    return net


def by_default() -> Net:
    torch.set_default_device("meta")
    try:
        return Net()
    finally:
        torch.set_default_device(None)


def by_accelerate() -> Net:
    accelerate = pytest.importorskip("accelerate")
    with accelerate.init_empty_weights(include_buffers=True):
        return Net()


BUILDS = [within_meta, moved_to_meta, by_default, by_accelerate]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({"embedding.weight": torch.ones(16, 8), "steps": torch.tensor(9)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_they_are_made_from_the_configuration(make: Make, file: Path, build: Callable[[], Net]) -> None:
    weights, twin = make(Safetensors(build, file)), Net()
    for _ in range(2):
        on_gpu(weights)
        with held(weights) as model:
            assert torch.equal(model.rotary.inv_freq, twin.rotary.inv_freq)
            assert model.rotary.again is model.rotary.inv_freq
            assert torch.equal(model.rotary.plain, twin.rotary.plain)
            assert torch.equal(model.rotary.listed[0], torch.eye(2))
            assert (int(model.steps), float(model.head.weight.detach().sum())) == (9, 128.0)
        weights.unload()


def test_parameters_take_no_memory_meanwhile() -> None:
    def build() -> nn.Module:
        with torch.device("meta"):
            return nn.Sequential(*(nn.Linear(1_000, 1_000) for _ in range(3)), Rotary())

    model = build_with_buffers(build)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())


def test_what_another_thread_builds_meanwhile_is_as_ever() -> None:
    inside, done = threading.Event(), threading.Event()
    theirs: list[nn.Module] = []

    def build() -> nn.Module:
        inside.set()
        assert done.wait(20)
        return within_meta()

    def other() -> None:
        assert inside.wait(20)
        theirs.extend((nn.Linear(4, 4), within_meta()))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    build_with_buffers(build)
    thread.join()
    assert not any(parameter.is_meta for parameter in theirs[0].parameters())
    assert all(tensor.is_meta for tensor in theirs[1].state_dict().values())


def test_what_files_should_have_is_still_missed(make: Make, file: Path) -> None:
    save_file({"embedding.weight": torch.ones(16, 8)}, file)
    with pytest.raises(LoadFailed, match="'steps' missing in the files"):
        make(Safetensors(within_meta, file)).load()


def test_one_that_can_not_be_made_without_the_weights_is_said(make: Make, file: Path) -> None:
    def build() -> Net:
        net = within_meta()
        net.register_buffer("norms", net.embedding.weight.detach().norm(dim=1), persistent=False)
        return net

    with pytest.raises(LoadFailed, match=r"'norms' missing in the files.*Non-persistent buffers are in no file"):
        make(Safetensors(build, file)).load()


def test_of_a_folder_the_files_of_its_index_are_read(make: Make, file: Path) -> None:
    save_file({"consolidated": torch.ones(1)}, file.parent / "consolidated.safetensors")
    with pytest.raises(LoadFailed, match="'consolidated' unknown to the model"):
        make(Safetensors(within_meta, file.parent)).load()
    names = dict.fromkeys(("embedding.weight", "steps"), file.name)
    (file.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    on_gpu(make(Safetensors(within_meta, file.parent)))


def test_one_name_in_two_files_is_refused(make: Make, file: Path) -> None:
    (file.parent / "model.fp16.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(LoadFailed, match=r"is in .*fp16\.safetensors and in .*model\.safetensors; name the files"):
        make(Safetensors(within_meta, file.parent)).load()

"""Weights that come from safetensors files: the bytes of the files, once in host RAM, again after each unload."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import ConfigurationError, LoadFailed
from dormouse_modelserver.engines.torch.layout.from_safetensors import Safetensors
from dormouse_modelserver.engines.torch.weights import Weights
from safetensors.torch import load_file, save_file
from torch import nn

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Net(nn.Module):
    """Tied weights, a buffer that is in the file and one that is made for real."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16, bias=False)
        self.head.weight = self.embedding.weight
        self.norm = nn.LayerNorm(8, dtype=torch.float16)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("positions", torch.arange(5, device="cpu"), persistent=False)


def on_meta(make: Callable[[], nn.Module] = Net) -> nn.Module:
    with torch.device("meta"):
        return make()


@pytest.fixture
def saved() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "embedding.weight": torch.randn(16, 8, generator=generator),
        "norm.weight": torch.randn(8, generator=generator).half(),
        "norm.bias": torch.randn(8, generator=generator).half(),
        "steps": torch.tensor(9),
    }


@pytest.fixture
def file(tmp_path: Path, saved: dict[str, torch.Tensor]) -> Path:
    save_file(saved, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def same_as(model: nn.Module, expected: Mapping[str, torch.Tensor]) -> None:
    state = model.state_dict()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_the_model_has_the_files_bytes_after_every_path(make: Make, file: Path, mirror: str) -> None:
    weights = make(Safetensors(on_meta, file), mirror=mirror)
    for move in (weights.offload, weights.unload, weights.unload):
        if weights.residency is Residency.UNLOADED:
            weights.wake()
        on_gpu(weights)
        with held(weights) as model:
            same_as(model, load_file(file))
            assert model.head.weight is model.embedding.weight
            assert model.positions.tolist() == [0, 1, 2, 3, 4]
        move()
        assert not weights.dirty


@pytest.mark.parametrize("as_folder", [True, False], ids=["folder", "list"])
def test_shards(make: Make, tmp_path: Path, saved: dict[str, torch.Tensor], as_folder: bool) -> None:
    names = sorted(saved)
    for number, part in enumerate((names[:2], names[2:])):
        save_file({name: saved[name] for name in part}, tmp_path / f"model-0000{number}.safetensors")
    files = tmp_path if as_folder else sorted(tmp_path.glob("*.safetensors"))
    weights = on_gpu(make(Safetensors(on_meta, files)))  # type: ignore[arg-type]
    with held(weights) as model:
        same_as(model, saved)


class Pipeline:
    def __init__(self) -> None:
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 2)


def test_parts_of_a_pipeline_have_files_of_their_own_and_names_are_mapped(make: Make, tmp_path: Path) -> None:
    twin = Pipeline()
    for part in ("encoder", "decoder"):
        state = {f"model.{name}": value for name, value in getattr(twin, part).state_dict().items()}
        save_file({**state, "model.unused": torch.zeros(1)}, tmp_path / f"{part}.safetensors")
    files = {part: tmp_path / f"{part}.safetensors" for part in ("encoder", "decoder")}

    def rename(name: str) -> str | None:
        return None if name.endswith("unused") else name.removeprefix("model.")

    weights = on_gpu(make(Safetensors(lambda: on_meta(Pipeline), files, rename=rename)))  # type: ignore[arg-type,type-var]
    with held(weights) as pipeline:
        for part in files:
            same_as(getattr(pipeline, part), getattr(twin, part).state_dict())


def lacking(saved: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor for name, tensor in saved.items() if name != "norm.bias"}, path)


def with_more(saved: dict[str, torch.Tensor], path: Path) -> None:
    save_file({**saved, "lora.weight": torch.zeros(1)}, path)


def of_other_shape(saved: dict[str, torch.Tensor], path: Path) -> None:
    save_file({**saved, "norm.bias": torch.zeros(9).half()}, path)


def of_other_dtype(saved: dict[str, torch.Tensor], path: Path) -> None:
    save_file({**saved, "norm.bias": torch.zeros(8)}, path)


def cut_short(saved: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def no_such_format(saved: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 this is a pickle in a zip")


def empty(saved: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(b"")


def gone(saved: dict[str, torch.Tensor], path: Path) -> None:
    path.unlink()


def changed(saved: dict[str, torch.Tensor], path: Path) -> None:
    save_file({**saved, "steps": torch.tensor(10)}, path)


BROKEN = [
    pytest.param(lacking, "'norm.bias' missing in the files", id="lacking"),
    pytest.param(with_more, "'lora.weight' unknown to the model", id="with more"),
    pytest.param(of_other_shape, r"torch.float16 \[9\].*torch.float16 \[8\]", id="of other shape"),
    pytest.param(of_other_dtype, r"torch.float32 \[8\].*torch.float16 \[8\]", id="of other dtype"),
    pytest.param(cut_short, "cut short", id="cut short"),
    pytest.param(no_such_format, "no safetensors file", id="no such format"),
    pytest.param(empty, "no safetensors file", id="empty"),
    pytest.param(gone, "FileNotFoundError", id="gone"),
]


@pytest.mark.parametrize(("spoil", "says"), BROKEN)
def test_files_that_do_not_fit_are_refused_with_what_is_wrong(
    make: Make, file: Path, saved: dict[str, torch.Tensor], spoil: Callable[..., None], says: str
) -> None:
    spoil(saved, file)
    weights = make(Safetensors(on_meta, file))
    with pytest.raises(LoadFailed, match=says):
        weights.wake()
    assert (weights.residency, weights.host_bytes) == (Residency.UNLOADED, 0)
    save_file(saved, file)
    with held(on_gpu(weights)) as model:
        same_as(model, saved)


@pytest.mark.parametrize(("spoil", "says"), [*BROKEN, pytest.param(changed, "other weights", id="changed")])
@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_files_that_changed_meanwhile_are_refused_at_the_reload(
    make: Make, file: Path, saved: dict[str, torch.Tensor], spoil: Callable[..., None], says: str, mirror: str
) -> None:
    weights = make(Safetensors(on_meta, file), mirror=mirror)
    weights.wake()
    weights.unload()
    spoil(saved, file)
    with pytest.raises(LoadFailed, match=says):
        weights.wake()
    assert (weights.residency, weights.device.memory().used) == (Residency.UNLOADED, 0)
    save_file(saved, file)
    weights.wake()
    with held(weights) as model:
        same_as(model, saved)


def test_a_folder_without_files_and_a_build_that_is_none_are_told(make: Make, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no \*\.safetensors files in"):
        make(Safetensors(on_meta, tmp_path)).load()
    with pytest.raises(ConfigurationError, match="give a function"):
        Safetensors("net.py", tmp_path)  # type: ignore[arg-type]


def test_a_change_is_dirty_here_as_well(make: Make, file: Path) -> None:
    weights = on_gpu(make(Safetensors(on_meta, file)))
    with held(weights) as model:
        model.embedding.weight.data += 1
    weights.offload()
    assert weights.dirty

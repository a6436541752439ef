"""What bitsandbytes, quanto and torchao make of a layer moves whole: the same answers after every path."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.engines.torch.layout.inventory import take_inventory
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.engine import Released
from torch import nn

from tests.modelserver.engine.using import held, on_gpu, weights_on

pytestmark = pytest.mark.filterwarnings("ignore")
X = torch.linspace(-1, 1, 2 * 64).reshape(2, 64)


def plain() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.LayerNorm(64)).eval()


def by_bitsandbytes(layer: Callable[[], nn.Module]) -> nn.Module:
    model = plain()
    for name in ("0", "2"):
        quantized = layer()
        quantized.load_state_dict(model._modules[name].state_dict())  # type: ignore[union-attr]
        model._modules[name] = quantized
    return model.to("cpu").eval()


def four_bits(*, nested: bool) -> nn.Module:
    bnb = pytest.importorskip("bitsandbytes")
    return by_bitsandbytes(
        lambda: bnb.nn.Linear4bit(
            64, 64, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=nested, bias=True
        )
    )


def eight_bits() -> nn.Module:
    bnb = pytest.importorskip("bitsandbytes")
    return by_bitsandbytes(lambda: bnb.nn.Linear8bitLt(64, 64, has_fp16_weights=False))


def by_quanto(weights: str, activations: str | None = None) -> nn.Module:
    quanto = pytest.importorskip("optimum.quanto")
    model = plain()
    quanto.quantize(model, weights=quanto.qtypes[weights], activations=quanto.qtypes.get(activations))
    with quanto.Calibration(streamline=False), torch.no_grad():
        model(X)
    quanto.freeze(model)
    return model


def by_torchao() -> nn.Module:
    torchao = pytest.importorskip("torchao.quantization")
    model = plain()
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    return model


KINDS: dict[str, Callable[[], nn.Module]] = {
    "bitsandbytes, 4 bits": lambda: four_bits(nested=False),
    "bitsandbytes, 4 bits, nested": lambda: four_bits(nested=True),
    "bitsandbytes, 8 bits": eight_bits,
    "quanto, 8 bits": lambda: by_quanto("qint8"),
    "quanto, 4 bits": lambda: by_quanto("qint4"),
    "quanto, 2 bits": lambda: by_quanto("qint2"),
    "quanto, float8": lambda: by_quanto("qfloat8"),
    "quanto, with activations": lambda: by_quanto("qint8", "qint8"),
    "torchao": by_torchao,
}
each_kind = pytest.mark.parametrize("load", KINDS.values(), ids=KINDS.keys())


def answer(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(X)).clone()


def move(weights: Weights[Any], how: str) -> Released:
    return weights.offload() if how == "offload" else weights.unload()


@each_kind
def test_the_answers_are_the_same_after_every_path(load: Callable[[], nn.Module]) -> None:
    device = SimDevice("sim", 64 << 20)
    twin = answer(load())
    # bitsandbytes packs its weights anew at the first answer on a CPU.
    weights = weights_on(device, load, unload_changes="discard")
    for how in ("offload", "offload", "unload", "offload"):
        on_gpu(weights)
        assert device.memory().used == weights.device_bytes
        with held(weights) as model:
            assert torch.equal(answer(model), twin)
        move(weights, how)
        assert device.memory().used == 0


@each_kind
def test_another_is_quantized_while_the_first_sleeps(load: Callable[[], nn.Module]) -> None:
    twin, manager = answer(load()), ResidencyManager("sim:64MiB", socket="")
    first, second = manager.register("first", load), manager.register("second", load)
    for model in (first, second, first):
        with model.on_gpu() as held_model:
            assert torch.equal(answer(held_model), twin)
    manager.close()


@pytest.mark.parametrize("nested", [False, True])
def test_what_bitsandbytes_keeps_beside_a_parameter_moves_with_it(nested: bool) -> None:
    inventory = take_inventory(four_bits(nested=nested))
    paths = {found.path for found in inventory.tensors}
    expected = {"absmax", "code"} | ({"offset", "state2.absmax", "state2.code"} if nested else set())
    assert {f"0.weight.quant_state.{name}" for name in expected} <= paths
    assert inventory.opaque == ()


def test_what_bitsandbytes_hands_to_the_module_at_its_first_use_moves_too() -> None:
    weights = on_gpu(weights_on(SimDevice("sim", 64 << 20), eight_bits))
    before = weights.device_bytes
    with held(weights) as model:
        answer(model)
        assert model[0].weight.CB is None
    weights.offload()
    weights.restore()
    assert (weights.device_bytes, weights.dirty) == (before, False)
    paths = {found.path for found in take_inventory(weights.model).tensors}
    assert {"0.state.CB", "0.state.SCB"} <= paths


def test_a_table_that_bitsandbytes_has_for_all_stays_its_own() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weights = on_gpu(weights_on(SimDevice("sim", 64 << 20), lambda: four_bits(nested=True)))
    weights.offload()
    assert all(table.numel() and not table.is_meta for table in functional.name2qmap.values())


@pytest.mark.parametrize("activations", [None, "qint8"])
def test_a_quanto_model_that_was_saved_is_loaded(activations: str | None) -> None:
    quanto = pytest.importorskip("optimum.quanto")
    saved = by_quanto("qint8", activations)
    state, qmap, twin = saved.state_dict(), quanto.quantization_map(saved), answer(saved)

    def load() -> nn.Module:
        model = plain()
        quanto.requantize(model, state, qmap, device=torch.device("cpu"))
        return model

    weights = weights_on(SimDevice("sim", 64 << 20), load)
    for _ in range(2):
        on_gpu(weights)
        with held(weights) as model:
            assert torch.equal(answer(model), twin)
        weights.unload()

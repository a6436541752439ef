"""`sim-strict`: what is on it computes as on the CPU, bit by bit, and never together with what is on the CPU."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_modelserver import Residency, ResidencyManager
from torch import nn

from tests.modelserver.zoo import ZOO, Exhibit

X = torch.linspace(-1, 1, 12).reshape(3, 4)
# torch has no quantized tensors on a device that a plug-in brings, and no products of its sparse CSR ones.
_NOT_THERE = ("quantized", "quantized per channel", "sparse CSR", "attributes that change")
# A part of it stays in host RAM, and the app mixes it in: so it would fail on a GPU.
_MIXES_ITSELF = ("odd in a tuple",)
REFUSED = "Expected all tensors to be on the same device"


def strict() -> ResidencyManager:
    return ResidencyManager("sim-strict:1GiB")


@pytest.fixture
def sim() -> torch.device:
    return strict().device.torch_device


@pytest.mark.parametrize("name", [name for name in ZOO if name not in (*_NOT_THERE, *_MIXES_ITSELF)])
def test_every_kind_of_model_answers_as_on_the_cpu_and_refuses_what_is_there(name: str) -> None:
    exhibit: Exhibit = ZOO[name]
    manager = strict()
    model, right = manager.register("a", exhibit.load), exhibit.answer(exhibit.load())
    x = exhibit.x.to(manager.device.torch_device)
    for _ in range(3):
        with model.on_gpu() as awake, torch.inference_mode():
            answer = awake(x)
            assert answer.device.type == "sim"
            assert torch.equal(answer.cpu(), right)
            if name != "no weights at all":
                with pytest.raises(RuntimeError, match=REFUSED):
                    awake(exhibit.x)
        del answer
        model.move_to(Residency.CPU)
        assert manager.device.memory().used == 0


@pytest.mark.parametrize("name", _MIXES_ITSELF)
def test_a_model_that_mixes_what_is_its_own_is_found_out(name: str) -> None:
    manager = strict()
    model = manager.register("a", ZOO[name].load)
    with model.on_gpu() as awake, pytest.raises(RuntimeError, match=REFUSED):
        awake(ZOO[name].x.to(manager.device.torch_device))


MIXED: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "a sum": lambda there, here: there + here,
    "a sum the other way round": lambda there, here: here + there,
    "a product": lambda there, here: here @ there.t(),
    "in place": lambda there, here: there.mul_(here),
    "in place on the CPU": lambda there, here: here.mul_(there),
    "a concatenation": lambda there, here: torch.cat([there, here]),
    "a choice": lambda there, here: torch.where(here > 0, there, there),
    "a layer": lambda there, here: nn.functional.linear(here, there),
    "attention": lambda there, here: nn.functional.scaled_dot_product_attention(here[None], there[None], there[None]),
    "an embedding": lambda there, here: nn.functional.embedding(torch.tensor([1]), there),
    "a comparison": lambda there, here: torch.equal(there, here),
    "values put in": lambda there, here: there.__setitem__(torch.tensor([0]), here[:1]),
    "values where a mask is set": lambda there, here: there.__setitem__(there > 0, here[here > 0]),
    "a result given": lambda there, here: torch.add(there, there, out=here),
}


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED)
def test_operands_on_both_are_refused(sim: torch.device, mix: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match=REFUSED):
        mix(X.to(sim), X.clone())


@pytest.mark.parametrize("read", [torch.Tensor.numpy, lambda tensor: tensor.__array__()])
def test_numpy_can_not_read_it(sim: torch.device, read: Callable[[torch.Tensor], Any]) -> None:
    with pytest.raises(TypeError, match="can't convert sim:0 device type tensor to numpy"):
        read(X.to(sim))


ALLOWED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a number": lambda x: x + 1.5,
    "a number in a tensor": lambda x: x * torch.tensor(1.5),
    "indices from the CPU": lambda x: x[torch.tensor([2, 0])],
    "a copy from the CPU": lambda x: x.clone().copy_(X + 1),
    "a value written": lambda x: x.clone().index_fill_(0, torch.tensor([1], device=x.device), 3.0),
    "a mask": lambda x: x.masked_fill(x > 0, 0.5),
    "made beside it": lambda x: torch.zeros(4, device=x.device) + torch.arange(4, device=x.device),
    "made like it": lambda x: torch.ones_like(x).cumsum(0) + x.new_full((4,), 2.0),
    "a result that is resized": lambda x: torch.add(x, x, out=torch.empty(0, device=x.device)),
    "a view written to": lambda x: x.clone().t()[1:].fill_(7).t(),
    "sorted": lambda x: x.sort(descending=True).indices,
    "split and stacked": lambda x: torch.stack([part.squeeze(0) for part in x.split(1)]),
    "other widths": lambda x: x.half().double().bfloat16().float(),
    "complex": lambda x: torch.view_as_real(torch.fft.fft(x)),
    "layer norm": lambda x: nn.functional.layer_norm(x, (4,)),
    "a convolution": lambda x: nn.functional.conv1d(x[None], x.new_ones(2, 3, 2)),
    "a transposed operand": lambda x: nn.functional.linear(x.t()[:, None], x.new_ones(5, 3), x.new_ones(5)),
    "grown": lambda x: x.clone().resize_(2, 3),
}  # fmt: skip


@pytest.mark.parametrize("compute", ALLOWED.values(), ids=ALLOWED)
@pytest.mark.parametrize("gradients", [True, False], ids=["", "without gradients"])
def test_the_rest_is_computed_as_on_the_cpu(
    sim: torch.device, compute: Callable[[torch.Tensor], torch.Tensor], gradients: bool
) -> None:
    with torch.set_grad_enabled(gradients):
        there, here = compute(X.to(sim)), compute(X)
    assert there.device.type == "sim"
    assert (there.shape, there.stride(), there.dtype) == (here.shape, here.stride(), here.dtype)
    assert torch.equal(there.cpu(), here)


def test_an_index_on_it_is_refused_by_what_is_on_the_cpu(sim: torch.device) -> None:
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        X[torch.tensor([0], device=sim)]


def test_it_has_generators_that_give_the_numbers_of_the_cpu(sim: torch.device) -> None:
    generator = torch.Generator(device=sim).manual_seed(3)
    assert (generator.device, isinstance(generator, torch.Generator)) == (sim, True)
    there, here = torch.randn(4, device=sim, generator=generator), torch.Generator().manual_seed(3)
    assert torch.equal(there.cpu(), torch.randn(4, generator=here))
    assert isinstance(here, torch.Generator)
    assert here.device.type == "cpu"


def test_a_deep_copy_is_on_it_too(sim: torch.device) -> None:
    x = X.to(sim)
    twin = copy.deepcopy({"x": x, "view": x[1:]})
    assert twin["x"].device == sim
    x.zero_()
    assert torch.equal(twin["x"].cpu(), X)
    assert twin["view"].untyped_storage().data_ptr() == twin["x"].untyped_storage().data_ptr()


def test_autocast_changes_nothing(sim: torch.device) -> None:
    with torch.autocast(device_type="sim", dtype=torch.bfloat16):
        assert torch.equal((X.to(sim) @ X.t().to(sim)).cpu(), X @ X.t())


def test_a_linear_layer_learns_on_it(sim: torch.device) -> None:
    torch.manual_seed(3)
    here = nn.Linear(4, 5)
    there = copy.deepcopy(here).to(sim)
    here(X).sum().backward()
    there(X.to(sim)).sum().backward()
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad.cpu(), one.grad)


def test_whole_numbers_are_counted_as_cuda_does(sim: torch.device) -> None:
    assert torch.histc(torch.tensor([0, 1, 1, 3], device=sim, dtype=torch.int), 4, 0, 3).tolist() == [1, 2, 0, 1]


def test_a_view_writes_to_what_it_views(sim: torch.device) -> None:
    x = torch.zeros(3, 4, device=sim)
    x[1].view(2, 2)[0] = 5
    assert torch.equal(x.cpu(), torch.tensor([[0.0] * 4, [5, 5, 0, 0], [0] * 4]))


def test_random_numbers_are_those_of_the_cpu(sim: torch.device) -> None:
    torch.manual_seed(3)
    there = torch.randn(4, device=sim), torch.rand(4, device=sim)
    torch.manual_seed(3)
    assert torch.equal(there[0].cpu(), torch.randn(4))
    assert torch.equal(there[1].cpu(), torch.rand(4))


def test_stable_addresses_and_changed_weights_are_as_on_sim() -> None:
    model = strict().register("a", lambda: nn.Linear(8, 8), stable_addresses=True)
    with model.on_gpu() as awake:
        address = awake.weight.data_ptr()
        with torch.no_grad():
            awake.weight.fill_(3)
    for _ in range(3):
        model.move_to(Residency.CPU)
        with model.on_gpu() as awake:
            assert awake.weight.data_ptr() == address
            assert awake.weight.cpu().eq(3).all()
            assert awake.weight.requires_grad


def test_it_is_simulated_and_nobody_gets_it_unasked() -> None:
    manager = strict()
    assert (manager.device.name, manager.device.simulated) == ("sim-strict:1GiB", True)
    assert not torch.get_device_module("sim").is_available()

"""What gets past the refusals of a sleeping model is in force at the next wake, counted, and no unload loses it."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import (
    DormouseError,
    HostFull,
    Model,
    ModelChanged,
    ModelNotHeld,
    ResidencyManager,
    TransitionFailed,
)
from dormouse_modelserver.engines.torch.layout.asleep import is_asleep
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from torch import nn

from tests.modelserver.zoo import X, seeded

from .sharing_models import Family
from .using import held, on_gpu, weights_on


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 8), nn.Linear(8, 8))
        self.register_buffer("scale", torch.ones(8))
        self.plain = torch.ones(8)
        self.register_buffer("sparse", torch.eye(8).to_sparse())


load = seeded(Net)
Change = Callable[[Any], None]


def appended(module: Any) -> None:
    torch.manual_seed(1)
    module.append(nn.Linear(8, 8))


def inserted_deep(module: Any) -> None:
    module[0].adapter = nn.Sequential(nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False))
    for weight in module[0].adapter.parameters():
        weight.data.fill_(0.5)


def another_parameter(module: Any) -> None:
    module[0].weight = nn.Parameter(torch.full((8, 8), 2.0))


def another_buffer(module: Any) -> None:
    module.scale = torch.full((8,), 3.0)


def a_new_buffer(module: Any) -> None:
    module.register_buffer("shift", torch.full((8,), 4.0))


def another_shape(module: Any) -> None:
    torch.manual_seed(1)
    module[1] = nn.Linear(8, 300)


def swapped(module: Any) -> None:
    torch.utils.swap_tensors(module[0].weight, nn.Parameter(torch.full((8, 8), 5.0)))


def set_to(module: Any) -> None:
    with torch.no_grad():
        module[0].weight.set_(torch.full((8, 8), 8.0))  # of which torch asks no subclass


def past_python(module: Any) -> None:
    with torch._C.DisableTorchFunctionSubclass():
        module[0].weight.data = torch.full((8, 8), 6.0)


def cast_past_python(module: Any) -> None:
    with torch._C.DisableTorchFunctionSubclass():
        module[0].weight.data = torch.full((8, 8), 6.0, dtype=torch.float64)


def tied(module: Any) -> None:
    module[1].weight = module[0].weight


def taken_out(module: Any) -> None:
    module[1].bias = None


def a_sparse_one_written(module: Any) -> None:
    module.sparse.mul_(2)


def a_sparse_one_put_in(module: Any) -> None:
    module.register_buffer("other_sparse", (torch.eye(8) * 7).to_sparse())


def two_at_once(module: Any) -> None:
    appended(module)
    another_parameter(module)
    taken_out(module)


CHANGES = [
    appended,
    inserted_deep,
    another_parameter,
    another_buffer,
    a_new_buffer,
    another_shape,
    swapped,
    set_to,
    past_python,
    cast_past_python,
    tied,
    taken_out,
    a_sparse_one_written,
    a_sparse_one_put_in,
    two_at_once,
]


@pytest.fixture
def model() -> Model[Any]:
    return ResidencyManager("sim:64MiB").register("tts", load)


def asleep(model: Model[Any]) -> Any:
    with model.on_gpu() as module:
        pass
    model.move_to(Residency.CPU)
    return module


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.to_dense() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def nbytes(module: nn.Module) -> int:
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers()) if not tensor.is_sparse}
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_in_force_at_the_next_wake_and_every_one_after_it(model: Model[Any], change: Change) -> None:
    module, twin = asleep(model), load()
    change(module)
    change(twin)
    for _ in range(3):
        with model.on_gpu() as awake, torch.no_grad():
            assert same(state(awake), state(twin))
            assert change is cast_past_python or torch.equal(awake(X), twin(X))
            assert model.snapshot().gpu_memory_bytes >= nbytes(twin)
        model.move_to(Residency.CPU)
        assert model.snapshot().gpu_memory_bytes == 0
        assert model.snapshot().dirty
        assert all(is_asleep(tensor) for tensor in module.parameters())


@pytest.mark.parametrize("woken", [False, True], ids=["at once", "after a wake"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_unload_loses_it(model: Model[Any], change: Change, woken: bool) -> None:
    module, twin = asleep(model), load()
    change(module)
    change(twin)
    if woken:
        with model.on_gpu():
            pass
        model.move_to(Residency.CPU)
    for _ in range(2):
        with pytest.raises(ModelChanged):
            model.move_to(Residency.UNLOADED)
    assert model.snapshot().residency is Residency.CPU
    with model.on_gpu() as awake:
        assert same(state(awake), state(twin))


@pytest.mark.parametrize("change", CHANGES)
def test_a_second_change_in_a_later_sleep_is_in_force_too(model: Model[Any], change: Change) -> None:
    module, twin = asleep(model), load()
    for each in (a_new_buffer, change):
        each(module)
        each(twin)
        with model.on_gpu() as awake:
            assert same(state(awake), state(twin))
        model.move_to(Residency.CPU)


def test_what_was_put_in_and_taken_out_again_is_no_change(model: Model[Any]) -> None:
    module = asleep(model)
    appended(module)
    del module[2]
    with model.on_gpu() as awake:
        assert torch.equal(awake(X), load()(X))
    model.move_to(Residency.CPU)
    model.move_to(Residency.UNLOADED)


def test_a_plain_tensor_is_in_force_and_hinders_no_unload(model: Model[Any]) -> None:
    module = asleep(model)
    module.plain = torch.full((8,), 2.0)
    with model.on_gpu() as awake:
        assert torch.equal(awake.plain, torch.full((8,), 2.0))
    model.move_to(Residency.CPU)
    model.move_to(Residency.UNLOADED)


def test_a_new_module_is_guarded_like_the_others(model: Model[Any]) -> None:
    module = asleep(model)
    appended(module)
    with model.on_gpu():
        pass
    with pytest.raises(ModelNotHeld):
        module[2](X)


def test_a_tensor_without_bytes_is_refused_by_name_and_can_be_mended(model: Model[Any]) -> None:
    module = asleep(model)
    module.register_buffer("shift", torch.ones(8, device="meta"))
    for _ in range(2):
        with pytest.raises(TransitionFailed, match=r"'shift'.*meta device"), model.on_gpu():
            pass
    assert model.snapshot().residency is Residency.CPU
    module.shift = torch.ones(8)
    with model.on_gpu() as awake:
        assert torch.equal(awake.shift, torch.ones(8))


class App:
    def __init__(self) -> None:
        self.model, self.head = nn.Linear(1000, 1000), nn.Linear(8, 8)


def test_what_was_taken_out_needs_no_room_on_the_device() -> None:
    model = ResidencyManager("sim:6MiB").register("tts", App)
    app = asleep(model)
    for value in (1.0, 2.0):
        app.model = nn.Linear(1000, 1000)
        app.model.weight.data.fill_(value)
        with model.on_gpu() as awake:
            assert (awake.model.weight == value).all()
            assert model.snapshot().gpu_memory_bytes < 6 << 20
            assert model.snapshot().host_memory_bytes < 6 << 20
        model.move_to(Residency.CPU)
    del app.model
    with model.on_gpu():
        assert model.snapshot().gpu_memory_bytes < 1 << 20
    model.move_to(Residency.CPU)
    with pytest.raises(ModelChanged):
        model.move_to(Residency.UNLOADED)


def test_changes_that_may_be_discarded_are(model: Model[Any]) -> None:
    free = ResidencyManager("sim:64MiB").register("free", load, unload_changes="discard")
    module = asleep(free)
    appended(module)
    free.move_to(Residency.UNLOADED)
    with free.on_gpu() as awake:
        assert torch.equal(awake(X), load()(X))


def two_with(encoder: nn.Module, residency: ResidencyManager | None = None) -> list[Model[Any]]:
    """Two models that share it, each with a head of its own."""
    residency = residency or ResidencyManager("sim:64MiB")
    return [residency.register(name, lambda: nn.ModuleList([encoder, nn.Linear(8, 8)])) for name in ("one", "other")]


def test_a_module_that_two_models_share_may_be_extended_while_both_sleep() -> None:
    encoder = seeded(lambda: nn.Sequential(nn.Linear(8, 8)))()
    one, other = two_with(encoder)
    asleep(one)
    asleep(other)
    with one.on_gpu(), other.on_gpu():
        pass
    one.move_to(Residency.CPU)
    other.move_to(Residency.CPU)
    appended(encoder)
    twin = seeded(lambda: nn.Sequential(nn.Linear(8, 8)))()
    appended(twin)
    for _ in range(2):
        for model in (one, other):
            with model.on_gpu() as awake:
                assert torch.equal(awake[0](X), twin(X))
            model.move_to(Residency.CPU)
        with one.on_gpu() as first, other.on_gpu() as second:
            assert torch.equal(first[0](X), second[0](X))
        one.move_to(Residency.CPU)
        other.move_to(Residency.CPU)


def test_a_shared_module_extended_while_the_other_is_awake_is_whole_for_both() -> None:
    encoder = seeded(lambda: nn.Sequential(nn.Linear(8, 8)))()
    one, other = two_with(encoder)
    asleep(one)
    asleep(other)
    twin = seeded(lambda: nn.Sequential(nn.Linear(8, 8)))()
    with one.on_gpu() as first:
        appended(encoder)
        appended(twin)
        with other.on_gpu() as second:
            assert torch.equal(first[0](X), twin(X))
            assert torch.equal(second[0](X), twin(X))
    one.move_to(Residency.CPU)
    with other.on_gpu() as second:
        assert torch.equal(second[0](X), twin(X))
    other.move_to(Residency.CPU)
    with one.on_gpu() as first:
        assert torch.equal(first[0](X), twin(X))


def test_what_one_replaced_asleep_hinders_no_sleep_of_the_other() -> None:
    """All that the first brought into the common bundle is replaced; the other falls asleep last."""
    residency = ResidencyManager("sim:64MiB")
    one, other = two_with(seeded(lambda: nn.Linear(8, 8))(), residency)
    one.move_to(Residency.CPU)
    other.move_to(Residency.CPU)
    with one.on_gpu() as first:
        pass
    one.move_to(Residency.CPU)
    for layer in first:
        layer.weight, layer.bias = nn.Parameter(torch.full((8, 8), 0.5)), nn.Parameter(torch.ones(8))
    for _ in range(3):
        with one.on_gpu() as first, other.on_gpu() as second:
            assert torch.equal(first[0](X), second[0](X))
            assert torch.equal(first[0](X), first[1](X))
        one.move_to(Residency.CPU)
        other.move_to(Residency.CPU)
        assert residency.device.memory().used == 0


@pytest.mark.parametrize("mirror", ["auto", "keep", "drop"])
@pytest.mark.parametrize(
    "fault", [SimFaults(full_at_byte=100), SimFaults(fail_copy_in_at_byte=0)], ids=["room", "copy"]
)
@pytest.mark.parametrize("change", [swapped, set_to, past_python, another_parameter])
def test_a_load_that_fails_beside_it_loses_nothing_of_what_both_have(
    device: SimDevice, change: Change, fault: SimFaults, mirror: str
) -> None:
    family = Family(device, mirror=mirror)
    on_gpu(family.a).offload()
    encoder, twin = [family.a.model.encoder], seeded(lambda: nn.Linear(8, 8))()
    change(encoder)
    change([twin])
    device.faults = fault
    with pytest.raises(DormouseError):
        family.b.wake()
    device.faults = SimFaults()
    for weights in (family.a, family.b):
        with held(on_gpu(weights)) as model:
            assert same(state(model.encoder), state(twin))
        weights.offload()


FAULTS = [
    *(SimFaults(full_at_byte=byte) for byte in range(0, 4096, 256)),
    *(SimFaults(fail_copy_in_at_byte=byte) for byte in range(0, 4096, 256)),
    *(SimFaults(corrupt_copy_in_at_byte=byte) for byte in range(0, 4096, 256)),
]


def test_a_wake_that_fails_half_way_keeps_it(device: SimDevice) -> None:
    failed = 0
    for fault in FAULTS:
        weights, twin = weights_on(device, load), load()
        weights.load()
        two_at_once(weights.model)
        two_at_once(twin)
        device.faults = fault
        try:
            weights.wake()
        except DormouseError:
            failed += 1
            assert weights.residency is Residency.CPU
            assert (device.memory().used, weights.device_bytes) == (0, 0)
        finally:
            device.faults = SimFaults()
        on_gpu(weights)
        with held(weights) as model:
            assert same(state(model), state(twin))
        weights.offload()
        assert device.memory().used == 0
    assert failed > 10


def test_without_room_in_host_ram_it_is_kept_where_it_is_and_the_next_wake_has_it(device: SimDevice) -> None:
    room = 1 << 30
    weights, twin = weights_on(device, load, host_memory=lambda: HostMemory(1 << 30, room)), load()
    weights.load()
    two_at_once(weights.model)
    two_at_once(twin)
    room = 0
    for _ in range(2):
        with pytest.raises(HostFull):
            weights.wake()
        assert weights.residency is Residency.CPU
    room = 1 << 30
    weights.wake()
    with held(weights) as model:
        assert same(state(model), state(twin))


def test_a_parameter_that_was_replaced_is_gone_from_the_device_without_a_collection(device: SimDevice) -> None:
    weights = on_gpu(weights_on(device, load))
    gc.disable()
    try:
        for _ in range(3):
            with held(weights) as model:
                another_parameter(model)
            weights.offload()
            assert device.memory().used == 0, "nobody refers to the old one"
            weights.restore()
    finally:
        gc.enable()

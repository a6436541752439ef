"""Modules that several registered models share are moved once, and each model finds them where it needs them."""

import itertools
from collections.abc import Callable

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import LoadFailed, ModelChanged, ModelNotHeld
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

from tests.modelserver.zoo import X

from .sharing_models import Family, Part, answer, answer_of
from .using import held, on_gpu, weights_on

# Bytes in an arena: each tensor starts at a multiple of 256.
_ENCODER, _HEAD = 512, 512


@pytest.fixture
def family(device: SimDevice) -> Family:
    return Family(device)


def test_what_two_share_is_on_the_device_once(family: Family) -> None:
    made = family.cache.made
    family.a.load()
    family.b.load()
    on_gpu(family.a)
    alone = family.device.memory().used
    on_gpu(family.b)
    assert family.device.memory().used - alone == _HEAD + 512, "its head and its middle, and not the encoder again"
    assert family.right(family.a, "a")
    assert family.right(family.b, "b")
    assert family.cache.made == made + 2


@pytest.mark.parametrize("first_awake", [True, False], ids=["first awake", "first asleep"])
def test_one_sleeps_while_the_other_is_right(family: Family, first_awake: bool) -> None:
    family.a.load()
    if first_awake:
        family.a.restore()
    family.b.wake()
    on_gpu(family.a)
    for _ in range(3):
        family.a.offload()
        assert family.right(family.b, "b")
        on_gpu(family.a)
        family.b.offload()
        assert family.right(family.a, "a")
        on_gpu(family.b)
    family.a.offload()
    family.b.offload()
    assert family.device.memory().used == 0


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
@pytest.mark.parametrize("awake", [True, False], ids=["awake", "asleep"])
def test_three_are_loaded_and_unloaded_in_any_order(family: Family, order: tuple[str, ...], awake: bool) -> None:
    models = {"a": family.a, "b": family.b, "c": family.c}
    for name in order:
        models[name].load()
        if awake:
            models[name].restore()
    for name in order:
        on_gpu(models[name])
        assert family.right(models[name], name)
    for number, name in enumerate(order):
        models[name].unload()
        for other in order[number + 1 :]:
            assert family.right(models[other], other)
    assert family.device.memory().used == 0
    for name in reversed(order):
        on_gpu(models[name])
        assert family.right(models[name], name)


def test_both_unload_and_the_shared_module_is_made_anew(family: Family) -> None:
    made = family.cache.made
    for _ in range(3):
        family.a.wake()
        family.b.wake()
        family.a.unload()
        assert family.right(family.b, "b")
        family.b.unload()
        assert family.device.memory().used == 0
    assert family.cache.made == made + 3 * 2


def test_one_is_unloaded_and_comes_back_to_what_the_other_has(family: Family) -> None:
    family.a.wake()
    family.b.wake()
    made = family.cache.made
    for _ in range(4):
        family.a.unload()
        on_gpu(family.a)
        assert family.right(family.a, "a")
        assert family.right(family.b, "b")
    assert family.cache.made == made


def test_host_ram_has_the_shared_module_once_when_it_was_split(family: Family) -> None:
    for weights in (family.a, family.b):
        weights.load()
    split = {id(bundle): bundle for weights in (family.a, family.b) for bundle in weights._loaded.bundles}  # type: ignore[union-attr]
    family.a.restore()
    family.a.offload()
    split = {id(bundle): bundle for weights in (family.a, family.b) for bundle in weights._loaded.bundles}  # type: ignore[union-attr]
    assert sum(bundle.host_bytes for bundle in split.values()) == _ENCODER + 2 * _HEAD + 512


def test_a_change_made_through_one_is_seen_by_the_other_and_survives_everything(family: Family) -> None:
    family.a.wake()
    family.b.wake()
    with held(family.a) as model:
        model.encoder.weight.data += 1
    changed = answer(family.b)
    assert not torch.equal(changed, family.twins["b"])
    family.a.offload()
    assert torch.equal(answer(family.b), changed)
    family.b.offload()
    on_gpu(family.b)
    assert torch.equal(answer(family.b), changed)
    family.a.unload()
    assert torch.equal(answer(family.b), changed), "what it changed is not its alone, so nothing is lost"
    with pytest.raises(ModelChanged):
        family.b.unload()


def grow(model: Part) -> None:
    model.head.register_parameter("extra", nn.Parameter(torch.ones(8)))
    model.head.bias.data += 2


def replace_own(model: Part) -> None:
    model.head.weight = nn.Parameter(torch.full_like(model.head.weight, 0.5))


def replace_shared(model: Part) -> None:
    model.encoder.weight = nn.Parameter(torch.full((8, 8), 0.25))  # type: ignore[assignment]


def replace_shared_data(model: Part) -> None:
    model.encoder.weight.data = torch.full((8, 8), 0.25)  # type: ignore[union-attr,operator]


def merge_into_own(model: Part) -> None:
    model.head.weight.data += 1


def lose_own(model: Part) -> None:
    model.head = nn.Identity()


each_change = pytest.mark.parametrize(
    "change",
    [grow, replace_own, replace_shared, replace_shared_data, merge_into_own, lose_own],
    ids=lambda change: change.__name__,
)


@each_change
@pytest.mark.parametrize("split", [False, True], ids=["still borrowed", "split"])
@pytest.mark.parametrize("through", ["a", "b"])
@pytest.mark.parametrize("first", ["a", "b"])
def test_new_and_replaced_parameters_follow_whoever_needs_them(
    family: Family, change: Callable[[Part], None], split: bool, through: str, first: str
) -> None:
    models = {"a": family.a, "b": family.b}
    family.a.load()
    if split:
        family.b.load()
    on_gpu(family.a)
    on_gpu(family.b)
    with held(models[through]) as model:
        change(model)
    right = {name: answer(weights) for name, weights in models.items()}
    other = "b" if first == "a" else "a"
    for _ in range(3):
        models[first].offload()
        assert torch.equal(answer(models[other]), right[other])
        models[other].offload()
        assert family.device.memory().used == 0
        for name in (other, first):
            on_gpu(models[name])
            assert torch.equal(answer(models[name]), right[name])
    for name in (first, other):
        models[name].offload()
    on_gpu(models[other])
    assert torch.equal(answer(models[other]), right[other]), "alone, with the first one asleep"


@pytest.mark.parametrize("change", [grow, replace_own, merge_into_own, lose_own], ids=lambda change: change.__name__)
@pytest.mark.parametrize("asleep", [False, True], ids=["awake", "asleep"])
@pytest.mark.parametrize("first_awake", [False, True], ids=["split", "still borrowed"])
def test_a_private_change_is_not_lost_because_the_rest_is_shared(
    family: Family, change: Callable[[Part], None], asleep: bool, first_awake: bool
) -> None:
    family.a.load()
    if first_awake:
        family.a.restore()
    family.b.wake()
    on_gpu(family.a)
    with held(family.a) as model:
        change(model)
    changed = answer(family.a)
    if asleep:
        family.a.offload()
    with pytest.raises(ModelChanged):
        family.a.unload()
    assert family.right(family.b, "b")
    assert torch.equal(answer(on_gpu(family.a)), changed)


def test_a_shared_module_may_be_used_while_either_is_held_and_not_otherwise(family: Family) -> None:
    family.a.wake()
    family.b.wake()
    shared = family.a.model.encoder
    for holder in (family.a, family.b):
        with held(holder):
            shared(X)
        with pytest.raises(ModelNotHeld):
            shared(X)
    family.a.unload()
    with held(family.b):
        shared(X)
    with pytest.raises(ModelNotHeld):
        shared(X)
    family.b.unload()
    with pytest.raises(ModelNotHeld):
        shared(X)


def test_a_module_that_is_given_to_another_model_while_awake_is_shared_from_then_on(family: Family) -> None:
    family.a.wake()
    other = weights_on(family.device, lambda: nn.Sequential(nn.Linear(8, 8)).eval(), name="other", engine=family.engine)
    other.wake()
    with held(other) as model:
        model.append(family.a.model.encoder)
        with held(family.a):
            with_it = answer_of(model)
    other.offload()
    assert family.right(family.a, "a")
    family.a.offload()
    assert torch.equal(answer(on_gpu(other)), with_it)
    assert family.a.residency is Residency.CPU


def test_tied_weights_of_which_one_model_has_only_one_are_not_parted(device: SimDevice) -> None:
    class Tied(nn.Module):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__()
            self.weight, self.view = weight, nn.Parameter(weight.data.view(64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.view.sum()

    class One(nn.Module):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    weight = nn.Parameter(torch.linspace(0, 1, 64).view(8, 8))
    both = weights_on(device, lambda: Tied(weight), name="both")
    one = weights_on(device, lambda: One(weight), name="one", engine=both._process)
    twins = [X @ weight.detach() + weight.detach().sum(), X @ weight.detach()]
    both.load()
    one.load()
    for _ in range(2):
        for weights, twin in zip((both, one), twins, strict=True):
            assert torch.equal(answer(on_gpu(weights)), twin)
        both.offload()
        assert torch.equal(answer(one), twins[1])
        one.offload()
        assert device.memory().used == 0


def test_stable_addresses_and_shared_modules_exclude_each_other(family: Family) -> None:
    stable = weights_on(family.device, family.loads["b"], name="stable", engine=family.engine, stable_addresses=True)
    family.a.wake()
    with pytest.raises(LoadFailed, match="stable_addresses"):
        stable.wake()
    assert family.right(family.a, "a")
    family.a.unload()
    assert family.device.memory().used == 0


def test_frozen_is_no_promise_of_another_model_that_shares(device: SimDevice) -> None:
    family = Family(device)
    frozen = weights_on(device, family.loads["a"], name="frozen", engine=family.engine, frozen=True)
    frozen.wake()
    family.b.wake()
    with held(family.b) as model:
        model.encoder.weight.data += 1
    changed = answer(family.b)
    frozen.offload()
    family.b.offload()
    assert torch.equal(answer(on_gpu(family.b)), changed)


def test_what_is_left_of_a_bundle_after_its_first_model_went_is_not_taken_for_changed(device: SimDevice) -> None:
    """It was packed under that one's names, and the two that stay share it only in part."""
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    a = weights_on(device, lambda: nn.ModuleDict({"one": first, "two": second}), name="a")
    engine = a._process
    a.wake()
    b = weights_on(device, lambda: nn.ModuleDict({"x": first, "y": second}), name="b", engine=engine)
    c = weights_on(device, lambda: nn.ModuleDict({"z": second}), name="c", engine=engine)
    b.wake()
    c.wake()
    a.unload()
    b.unload()
    assert (b.residency, b.dirty) == (Residency.UNLOADED, False)
    with held(c) as model:
        model["z"](X)


def test_what_nobody_needed_for_a_while_is_not_taken_for_changed_by_who_joins_later(device: SimDevice) -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    a = weights_on(device, lambda: nn.ModuleDict({"one": first, "two": second}), name="a")
    engine = a._process
    a.wake()
    b = weights_on(device, lambda: nn.ModuleDict({"x": first}), name="b", engine=engine)
    b.wake()
    a.unload()  # from here on nobody needs `second`, which is still in the bundle that b is on
    c = weights_on(device, lambda: nn.ModuleDict({"x": first, "y": second}), name="c", engine=engine)
    c.wake()
    c.unload()
    assert c.residency is Residency.UNLOADED


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
@pytest.mark.parametrize("leaving", ["bc", "cb", "ac", "ca", "ab", "ba"])
def test_what_is_put_into_a_module_of_three_stays_with_the_last_of_them(
    family: Family, order: tuple[str, ...], leaving: str
) -> None:
    for name in order:
        on_gpu(getattr(family, name))
    with held(family.a) as model:
        model.encoder.bias = nn.Parameter(torch.full((8,), 2.0))
    right = {name: answer(getattr(family, name)) for name in "abc"}
    for name in leaving:
        getattr(family, name).offload()
        for one in (family.a, family.b, family.c):
            if one.residency is Residency.GPU:
                assert torch.equal(answer(one), right[one.gate.model_name])
    for name in "abc":
        assert torch.equal(answer(on_gpu(getattr(family, name))), right[name])


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("left", ["a", "b"])
@pytest.mark.parametrize("when", ["awake", "asleep", "awake, and it slept"])
def test_no_unload_loses_that_a_parameter_was_taken_out(family: Family, first: str, left: str, when: str) -> None:
    one, other = getattr(family, left), getattr(family, "b" if left == "a" else "a")
    on_gpu(getattr(family, first))
    on_gpu(one)
    on_gpu(other)
    if when == "asleep":
        one.offload()
    one.model.head.bias = None
    if when == "awake, and it slept":
        one.offload()
    for _ in range(2):
        with pytest.raises(ModelChanged, match=r"'head.bias' \(removed\)"):
            one.unload()
    other.offload()
    with held(on_gpu(one)) as model:
        assert model.head.bias is None
    with held(on_gpu(other)) as model:
        assert model.head.bias is not None


def test_a_parameter_taken_out_while_the_other_is_awake_keeps_neither_there(family: Family) -> None:
    on_gpu(family.a)
    on_gpu(family.b)
    with held(family.a) as model:
        model.head.bias = None  # the last of its tensors: the others are where they were
    right = answer(family.a)
    family.a.offload()
    family.b.offload()
    assert family.device.memory().used == 0
    assert torch.equal(answer(on_gpu(family.a)), right)
    assert family.right(on_gpu(family.b), "b")


def test_a_shared_part_replaced_whole_stays_awake_with_whoever_is(family: Family) -> None:
    """Nothing is left of the bundle that the three had in common."""
    on_gpu(family.a).offload()
    on_gpu(family.c)
    on_gpu(family.a)
    with held(family.c) as model:
        model.encoder.weight = nn.Parameter(torch.full((8, 8), 0.25))  # type: ignore[assignment]
        model.encoder.bias = nn.Parameter(torch.ones(8))  # type: ignore[assignment]
    right = {name: answer(weights) for name, weights in (("a", family.a), ("c", family.c))}
    on_gpu(family.b)
    right["b"] = answer(family.b)
    for name, sleeper in (("b", family.b), ("c", family.c), ("a", family.a)):
        sleeper.offload()
        for other, weights in (("a", family.a), ("b", family.b), ("c", family.c)):
            if weights.residency is Residency.GPU:
                assert torch.equal(answer(weights), right[other]), f"{other}, after {name} fell asleep"
    assert family.device.memory().used == 0
    for name, weights in (("a", family.a), ("b", family.b), ("c", family.c)):
        assert torch.equal(answer(on_gpu(weights)), right[name])


@pytest.mark.parametrize("ends", ["offload", "unload"])
def test_a_buffer_that_shares_bytes_keeps_no_arena_that_all_have_left(family: Family, ends: str) -> None:
    """Put into the middle by `c`, while `a`, which has no middle, keeps the arena that all three are in."""
    on_gpu(family.b)
    on_gpu(family.a)
    on_gpu(family.c)
    family.b.offload()
    with held(family.c) as model:
        model.middle[0].register_buffer("view", model.middle[0].weight.detach())  # type: ignore[index,union-attr]
    getattr(family.c, ends)()
    family.a.offload()
    assert family.device.memory().used == 0
    with held(on_gpu(family.b)) as model, torch.no_grad():
        model.middle[0].weight.mul_(2)  # type: ignore[index,union-attr]
        assert torch.equal(model.middle[0].view, model.middle[0].weight)  # type: ignore[index,union-attr,arg-type]


def test_a_buffer_shares_the_bytes_of_a_weight_that_was_replaced(family: Family) -> None:
    """Neither is in the arena when the buffer is put in; the weight has its place in a bundle, and the buffer none."""
    on_gpu(family.b)
    on_gpu(family.c)
    family.b.offload()
    encoder = family.b.model.encoder
    torch.utils.swap_tensors(encoder.weight, nn.Parameter(torch.full((8, 8), 3.0)))
    family.b.unload()
    with held(family.c) as model:
        model.encoder.register_buffer("view", model.encoder.weight.detach())  # type: ignore[operator,union-attr,arg-type]
    on_gpu(family.a)
    on_gpu(family.b)
    for weights in (family.c, family.b, family.a):
        weights.offload()
    for weights in (family.a, family.c):
        with held(on_gpu(weights)) as model, torch.no_grad():
            model.encoder.weight.mul_(2)  # type: ignore[operator,union-attr]
            assert torch.equal(model.encoder.view, model.encoder.weight)  # type: ignore[arg-type]

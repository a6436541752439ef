"""A sleeping model that is touched: refused at that moment by a sentence that names `on_gpu()`, and nothing changed."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import Model, ModelNotHeld, ResidencyManager
from torch import nn
from torch.nn.utils import prune

from tests.modelserver.zoo import X, seeded


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.linear.weight
        self.register_buffer("scale", torch.ones(8), persistent=False)
        self.plain = torch.ones(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.tied(self.norm(self.linear(x))) * self.plain * self.scale)


load = seeded(lambda: Net().eval())


def asleep(model: Model[Any]) -> Any:
    with model.on_gpu() as module:
        pass
    model.move_to(Residency.CPU)
    return module


@pytest.fixture
def model() -> Model[Any]:
    return ResidencyManager("sim:64MiB").register("tts", load)


def data_is(module: Any) -> None:
    module.linear.weight.data = torch.ones(8, 8)


def data_plus(module: Any) -> None:
    module.linear.weight.data += torch.ones(8, 8)


def plus(module: Any) -> None:
    with torch.no_grad():
        module.linear.weight += 1


def item(module: Any) -> None:
    with torch.no_grad():
        module.linear.weight[0] = 1


def weight_of(act: Callable[[torch.Tensor], Any]) -> Callable[[Any], Any]:
    def do(module: Any) -> Any:
        with torch.no_grad():
            return act(module.linear.weight)

    return do


STATE = load().state_dict()
REFUSED: dict[str, Callable[[Any], Any]] = {
    # Cast.
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "double": lambda module: module.double(),
    "to float8": lambda module: module.to(torch.float8_e4m3fn),
    "to the dtype it has": lambda module: module.to(torch.float32),
    "to the CPU": lambda module: module.to("cpu"),
    "to_empty": lambda module: module.to_empty(device="cpu"),
    "a part is cast": lambda module: module.norm.half(),
    "type": lambda module: module.type(torch.float16),
    # Written to.
    "data =": data_is,
    "data +=": data_plus,
    "+=": plus,
    "[0] =": item,
    "mul_": weight_of(lambda weight: weight.mul_(2)),
    "data.mul_": weight_of(lambda weight: weight.data.mul_(2)),
    "detach().zero_": weight_of(lambda weight: weight.detach().zero_()),
    "fill_": weight_of(lambda weight: weight.fill_(1)),
    "copy_": weight_of(lambda weight: weight.copy_(torch.ones(8, 8))),
    "resize_": weight_of(lambda weight: weight.resize_(4, 4)),
    "neg_": weight_of(torch.neg_),
    "out=": weight_of(lambda weight: torch.add(torch.ones(8, 8), 1, out=weight)),
    "out= of another": weight_of(lambda weight: torch.add(weight, 1, out=torch.zeros(8, 8))),
    "foreach": weight_of(lambda weight: torch._foreach_mul_([torch.ones(2), weight], 2.0)),
    "index_copy_": weight_of(lambda weight: weight.index_copy_(0, torch.tensor([0]), torch.ones(1, 8))),
    "through the storage": weight_of(lambda weight: weight.untyped_storage().fill_(1)),
    "through numpy": weight_of(lambda weight: weight.numpy()),
    "nn.init": lambda module: nn.init.xavier_uniform_(module.linear.weight),
    "reset_parameters": lambda module: module.linear.reset_parameters(),
    "reset_running_stats": lambda module: module.norm.reset_running_stats(),
    "a buffer is written": lambda module: module.scale.fill_(2),
    "a plain tensor is written": lambda module: module.plain.fill_(2),
    "vector_to_parameters": lambda module: nn.utils.vector_to_parameters(torch.ones(200), module.parameters()),
    "grad =": lambda module: setattr(module.linear.weight, "grad", torch.ones(8, 8)),
    "prune": lambda module: prune.l1_unstructured(module.linear, "weight", 0.5),
    "weight_norm": lambda module: nn.utils.parametrizations.weight_norm(module.linear),
    "spectral_norm": lambda module: nn.utils.parametrizations.spectral_norm(module.linear),
    "load_state_dict": lambda module: module.load_state_dict(STATE),
    "load_state_dict, strict or not": lambda module: module.load_state_dict(STATE, strict=False),
    "load_state_dict, assign": lambda module: module.load_state_dict(STATE, assign=True),
    "load_state_dict of a part": lambda module: module.linear.load_state_dict(nn.Linear(8, 8).state_dict()),
    # Read, saved, copied.
    "a weight is computed with": weight_of(lambda weight: weight @ torch.ones(8)),
    "computed with, on the right": weight_of(lambda weight: torch.ones(8) @ weight),
    "forward": lambda module: module(X),
    "a view": weight_of(lambda weight: weight.view(-1)),
    "clone": weight_of(lambda weight: weight.clone()),
    "tolist": weight_of(lambda weight: weight.tolist()),
    "sum": weight_of(torch.sum),
    "equal": weight_of(lambda weight: torch.equal(weight, torch.ones(8, 8))),
    "data_ptr": weight_of(lambda weight: weight.data_ptr()),
    "a weight inside a list": weight_of(lambda weight: torch.cat([torch.ones(8, 8), weight])),
    "state_dict": lambda module: module.state_dict(),
    "parameters_to_vector": lambda module: nn.utils.parameters_to_vector(module.parameters()),
    "torch.save": lambda module: torch.save(module, io.BytesIO()),
    "torch.save of a weight": weight_of(lambda weight: torch.save(weight, io.BytesIO())),
    "torch.save of all parameters": lambda module: torch.save(list(module.parameters()), io.BytesIO()),
    "pickle": pickle.dumps,
    "pickle of a weight": weight_of(pickle.dumps),
    "to another process": ForkingPickler.dumps,
    "deepcopy": copy.deepcopy,
    "deepcopy of a part": lambda module: copy.deepcopy(module.norm),
    "deepcopy of a buffer": lambda module: copy.deepcopy(module.scale),
    "copy of a weight": weight_of(copy.copy),
    "shared memory": lambda module: module.share_memory(),
    "dlpack": weight_of(torch.from_dlpack),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_by_name_and_nothing_has_changed(model: Model[Any], act: Callable[[Any], Any]) -> None:
    module, twin = asleep(model), load()
    for _ in range(2):
        with pytest.raises(ModelNotHeld, match=r"residency\['tts'\]\.on_gpu\(\)"):
            act(module)
        with model.on_gpu() as awake, torch.no_grad():
            assert awake is module
            assert torch.equal(module(X), twin(X))
            assert [type(tensor) for tensor in module.parameters()] == [nn.Parameter] * 4
            assert type(module.scale) is type(module.plain) is torch.Tensor
            assert module.tied.weight is module.linear.weight
        assert not model.snapshot().dirty
        model.move_to(Residency.CPU)


ANSWERED: dict[str, Callable[[Any], Any]] = {
    "number of parameters": lambda module: sum(tensor.numel() for tensor in module.parameters()),
    "bytes": lambda module: sum(tensor.nelement() * tensor.element_size() for tensor in module.buffers()),
    "nbytes": lambda module: [tensor.nbytes for tensor in module.parameters()],
    "shapes": lambda module: [(name, tensor.shape) for name, tensor in module.named_parameters()],
    "size": lambda module: (module.linear.weight.size(), module.linear.weight.size(1), len(module.linear.weight)),
    "strides": lambda module: module.linear.weight.stride(),
    "dimensions": lambda module: (module.linear.weight.ndim, module.linear.weight.dim()),
    "dtype": lambda module: {tensor.dtype for tensor in module.parameters()},
    "device": lambda module: next(module.parameters()).device,
    "is_cuda": lambda module: (module.scale.is_cuda, module.scale.is_cpu, module.scale.is_meta),
    "floating point": lambda module: [torch.is_floating_point(tensor) for tensor in module.buffers()],
    "torch.numel": lambda module: torch.numel(module.plain),
    "a parameter": lambda module: [isinstance(tensor, nn.Parameter) for tensor in module.parameters()],
    "gradient wanted": lambda module: [tensor.requires_grad for tensor in module.parameters()],
    "gradient": lambda module: [tensor.grad for tensor in module.parameters()],
    "leaf": lambda module: module.linear.weight.is_leaf,
    "contiguous": lambda module: module.linear.weight.is_contiguous(),
    "zeros like it": lambda module: torch.zeros_like(module.linear.weight).tolist(),
    "ones like it, of another dtype": lambda module: module.scale.new_ones(3, dtype=torch.int64).tolist(),
    "room for its like": lambda module: torch.empty_like(module.linear.weight).device,
    "repr": lambda module: repr(module),
    "tied": lambda module: module.tied.weight is module.linear.weight,
    "mode": lambda module: module.training,
    "modules": lambda module: [name for name, _ in module.named_modules()],
}


@pytest.mark.parametrize("ask", ANSWERED.values(), ids=ANSWERED.keys())
def test_what_can_be_answered_truthfully_is(model: Model[Any], ask: Callable[[Any], Any]) -> None:
    assert ask(asleep(model)) == ask(load())


def test_a_sleeping_tensor_shows_itself_as_asleep(model: Model[Any]) -> None:
    module = asleep(model)
    assert repr(module.scale) == "Tensor('scale' of model 'tts', asleep, torch.float32, [8])"


def test_what_is_no_part_of_the_bytes_may_be_set_and_stays(model: Model[Any]) -> None:
    module = asleep(model)
    module.requires_grad_(False)
    module.zero_grad()
    module.train()
    with model.on_gpu():
        assert not any(tensor.requires_grad for tensor in module.parameters())
        assert module.training


def test_a_model_that_was_unloaded_says_to_take_it_anew(model: Model[Any]) -> None:
    old = asleep(model)
    model.move_to(Residency.UNLOADED)
    for act in (REFUSED["half"], REFUSED["torch.save"], REFUSED["data ="], REFUSED["load_state_dict"]):
        with pytest.raises(ModelNotHeld, match="take `model` anew"):
            act(old)


def test_a_held_model_may_be_cast_saved_copied_and_loaded_into(model: Model[Any]) -> None:
    with model.on_gpu() as module:
        right = module(X)
        assert torch.equal(copy.deepcopy(module)(X), right)
        pickled = pickle.loads(pickle.dumps(module))  # noqa: S301 - made a moment ago
        assert torch.equal(pickled(X), right)
        module.load_state_dict(STATE)
        module.half()
    model.move_to(Residency.CPU)
    assert model.snapshot().dirty
    with model.on_gpu() as module:
        assert torch.equal(module.linear.weight, load().half().linear.weight)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("act", ["half", "to the CPU", "to_empty", "shared memory"])
def test_a_recurrent_layer_that_refused_is_whole(layer: type[nn.RNNBase], act: str) -> None:
    make = seeded(lambda: nn.Sequential(layer(8, 8)).eval())
    model = ResidencyManager("sim:64MiB").register("tts", make)
    module = asleep(model)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        REFUSED[act](module)
    with model.on_gpu(), torch.no_grad():
        right = make()(X)[0]
        assert torch.equal(module(X)[0], right)
        for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301 - made a moment ago
            assert torch.equal(copied.double().float()(X)[0], right)
        assert torch.equal(module.double().float()(X)[0], right)


class Labelled(nn.Parameter):
    """A parameter of a library's, with a method and an attribute beside its bytes."""

    label = "none"

    def doubled(self) -> torch.Tensor:
        return self * 2


def test_a_library_s_parameter_keeps_its_class_and_what_it_holds() -> None:
    def load_labelled() -> nn.Module:
        module = nn.Linear(8, 8)
        module.weight = Labelled(torch.ones(8, 8))
        module.weight.label = "left"
        return module

    model = ResidencyManager("sim:64MiB").register("tts", load_labelled)
    module = asleep(model)
    assert isinstance(module.weight, Labelled)
    assert module.weight.label == "left"
    with pytest.raises(ModelNotHeld):
        module.weight.doubled()
    with model.on_gpu():
        assert type(module.weight) is Labelled
        assert torch.equal(module.weight.doubled(), torch.full((8, 8), 2.0))
        assert vars(module.weight) == {"label": "left"}


def load_script() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return seeded(lambda: torch.jit.script(nn.Linear(8, 8)))()


SCRIPT_COPIES: dict[str, Callable[[Any], Any]] = {
    "save": lambda module: module.save(io.BytesIO()),
    "torch.jit.save": lambda module: torch.jit.save(module, io.BytesIO()),
    "deepcopy": copy.deepcopy,
    "half": lambda module: module.half(),
    "state_dict": lambda module: module.state_dict(),
    "load_state_dict": lambda module: module.load_state_dict(nn.Linear(8, 8).state_dict()),
    "data =": lambda module: setattr(module.weight, "data", torch.ones(8, 8)),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # deprecated, and in use
@pytest.mark.parametrize("act", SCRIPT_COPIES.values(), ids=SCRIPT_COPIES.keys())
def test_a_script_module_is_neither_saved_nor_copied_asleep(act: Callable[[Any], Any]) -> None:
    model = ResidencyManager("sim:64MiB").register("tts", load_script)
    module = asleep(model)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        act(module)
    with model.on_gpu():
        assert torch.equal(module(X), load_script()(X))
        file = io.BytesIO()
        torch.jit.save(module, file)
        file.seek(0)
        assert torch.equal(torch.jit.load(file)(X), module(X))
        assert torch.equal(copy.deepcopy(module)(X), module(X))

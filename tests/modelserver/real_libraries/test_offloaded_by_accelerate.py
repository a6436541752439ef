"""A model whose weights are on the meta device has nothing to move: the refusal says where they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_modelserver import LoadFailed, Residency
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

from tests.modelserver.engine.using import held, on_gpu, weights_on

pytestmark = pytest.mark.filterwarnings("ignore")
accelerate = pytest.importorskip("accelerate")


def net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))


def to_the_cpu(folder: Path) -> Any:
    return accelerate.cpu_offload(net(), execution_device=torch.device("cpu"))


def to_the_disk(folder: Path) -> Any:
    return accelerate.disk_offload(net(), str(folder), execution_device=torch.device("cpu"))


def by_a_device_map(folder: Path) -> Any:
    where = {"0": "cpu", "1": "cpu", "2": "disk"}
    return accelerate.dispatch_model(net(), where, main_device="cpu", offload_dir=str(folder))


def never_filled(folder: Path) -> Any:
    with accelerate.init_empty_weights():
        return net()


def of_torch(folder: Path) -> Any:
    with torch.device("meta"):
        return net()


def inside(folder: Path) -> Any:
    app = type("App", (), {})()
    app.model, app.helper = nn.Linear(8, 8), type("Helper", (), {})()
    app.helper.codec = to_the_cpu(folder)
    return app


@pytest.mark.parametrize("load", [to_the_cpu, to_the_disk, by_a_device_map, never_filled, of_torch, inside])
def test_it_is_refused_with_the_device_and_what_put_it_there(load: Callable[[Path], Any], tmp_path: Path) -> None:
    weights = weights_on(SimDevice("sim", 1 << 20), lambda: load(tmp_path))
    with pytest.raises(LoadFailed, match=r"meta device: accelerate has offloaded them .*without device_map"):
        weights.wake()
    assert (weights.residency, weights.host_bytes) == (Residency.UNLOADED, 0)


def test_one_that_accelerate_only_dispatched_moves() -> None:
    weights = on_gpu(weights_on(SimDevice("sim", 1 << 20), lambda: accelerate.dispatch_model(net(), {"": "cpu"})))
    with held(weights) as model:
        assert torch.equal(model(torch.ones(1, 8)), net()(torch.ones(1, 8)))

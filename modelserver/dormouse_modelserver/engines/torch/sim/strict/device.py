"""`sim-strict`: as `sim`, and its tensors say that they are on the device `sim`, where CUDA's say `cuda:0`.

On `sim` weights and inputs both are in host RAM, so an input that was sent to the wrong place computes all the same.
Here it raises what CUDA raises, without a GPU; answers are those of the CPU, bit by bit.
"""

import torch

from ..device import DEFAULT_CAPACITY_BYTES, SimDevice
from .kernels import register_kernels
from .relabelled import on_sim, register_device


class StrictSimDevice(SimDevice):
    """Raises `ConfigurationError` where torch has no such device to offer."""

    def __init__(self, name: str, capacity_bytes: int = DEFAULT_CAPACITY_BYTES, path: str | None = None) -> None:
        super().__init__(name, capacity_bytes, path)
        self.torch_device = register_device()
        register_kernels()

    def _labelled(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        return on_sim(storage)

    def _copied(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
            # torch has no such tensors on a device that it doesn't know. They mix, as on `sim`.
            return super()._copied(tensor)
        return tensor.to(self.torch_device)

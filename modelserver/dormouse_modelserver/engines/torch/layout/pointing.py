"""Points a tensor at other bytes, on whatever device: its object stays, and so does all that holds it."""

import torch


def point(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """`tensor.data = data`, also between devices for which torch refuses that."""
    try:
        tensor.data = data
    except RuntimeError:
        if tensor.device.type == data.device.type:
            raise
        _swap(tensor, data)


def _swap(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """The simulated device is a plug-in's, whose tensors are of another kind to torch than those of CPU and CUDA."""
    requires_grad = tensor.requires_grad
    # A new object, since `data` would become what `tensor` was.
    torch._C._swap_tensor_impl(tensor, data.detach())
    tensor.requires_grad_(requires_grad)

"""Whether an error of torch's means that the device has no memory left: what another model's leaving would mend."""

import torch


def lacks_memory(error: BaseException) -> bool:
    """torch's allocator has an error class for it. The driver's own, as when it loads a kernel at its first use, comes
    as a plain `RuntimeError` ("CUDA error: out of memory")."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error)

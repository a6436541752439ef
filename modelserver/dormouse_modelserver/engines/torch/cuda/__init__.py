"""A CUDA device: allocations, pinned host memory, stable addresses, errors that stick."""

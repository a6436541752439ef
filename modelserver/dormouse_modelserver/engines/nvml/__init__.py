"""GPU memory by process, as the NVIDIA driver counts it."""

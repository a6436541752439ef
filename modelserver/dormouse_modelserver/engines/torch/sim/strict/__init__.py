"""`sim-strict`: the simulated device as a device of torch's, which refuses to mix with the CPU."""

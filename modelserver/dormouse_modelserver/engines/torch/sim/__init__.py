"""The simulated device: real copies in host RAM, a hard capacity, no GPU."""

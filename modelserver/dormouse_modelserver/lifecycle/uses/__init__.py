"""Uses of a model: how they wait, hold it on the GPU, and end."""

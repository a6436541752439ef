"""torch weights in this process, moved between the GPU, host RAM and disk."""

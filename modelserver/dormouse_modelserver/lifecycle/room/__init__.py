"""Room on this machine: GPU memory that others make free, and host RAM."""

"""What Dormouse costs, measured on this machine: `python -m benchmarks.engine`, `python -m benchmarks.gpu`."""

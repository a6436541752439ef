"""What a service without Dormouse does after a restart: import torch, load the weights, answer.

python -m benchmarks.engine.restart CASE FILE DEVICE
"""

import sys

import torch
from safetensors.torch import load_file

from .cases import parse
from .stack import ask, build


def main() -> int:
    case, file, device = parse(sys.argv[1]), sys.argv[2], torch.device(sys.argv[3])
    model = build(case)
    model.load_state_dict(load_file(file))
    ask(model.to(device), device)
    return 0


if __name__ == "__main__":
    sys.exit(main())

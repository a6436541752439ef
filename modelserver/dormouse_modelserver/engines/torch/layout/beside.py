"""What quantization libraries keep beside a parameter, which alone is no weight: scales, code tables, statistics.

bitsandbytes has them in attributes of the parameter (`weight.quant_state.absmax`, `weight.CB`) and of the module
(`module.state`). Nothing of torch moves those with the parameter.
"""

import sys
from typing import Any

import torch

_LIBRARIES = frozenset({"bitsandbytes"})


def belongs_to_parameters(value: object) -> bool:
    """Whether an object in an attribute of a module holds what belongs to the module's parameters."""
    home = vars(type(value)).get("__module__")
    return isinstance(home, str) and home.partition(".")[0] in _LIBRARIES


def private_copy(tensor: torch.Tensor, owner: dict[str, Any], name: str) -> torch.Tensor:
    """A copy in its stead, of a code table that the library has for all models of the process; others as they are.

    Moved with one model, it would be missing when the next one is quantized.
    """
    functional = sys.modules.get("bitsandbytes.functional")
    tables = getattr(functional, "name2qmap", None)
    if not isinstance(tables, dict) or all(tensor is not table for table in tables.values()):
        return tensor
    owner[name] = tensor.clone()
    return owner[name]  # type: ignore[no-any-return]

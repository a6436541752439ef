"""What a model has and Dormouse does not move: a line for each kind of it, with what to write so that it does.

One line for the hundred voices in a list, not a hundred.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .constants import Constants
from .objects import MOST_OBJECTS, Loose

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(slots=True)
class _Group:
    first: Loose
    count: int = 0
    nbytes: int = 0


def lines_for_loose(loose: Iterable[Loose], moved: Iterable[int]) -> list[str]:
    """moved: the tensors (by id) that move all the same, since something else holds them too."""
    seen, groups = set(moved), dict[tuple[type, bool], _Group]()
    for one in loose:
        if id(one.tensor) in seen or not one.tensor.dim():  # without dimensions it may be anywhere
            continue
        seen.add(id(one.tensor))
        group = groups.setdefault((one.owner, one.of_class), _Group(one))
        group.count += 1
        group.nbytes += size_of(one.tensor)
    return [_line(group) for group in groups.values()]


def _line(group: _Group) -> str:
    first = group.first
    what = "a tensor" if group.count == 1 else f"the first of {group.count} tensors"
    what += f" ({in_words(group.nbytes)})"
    if first.of_class:
        where = f"in an attribute of the class {first.owner.__name__}"
        return f"{first.path}: {what} {where}, {_STAYS}; set it on the object"
    owner = f"an object of class {first.owner.__name__}"
    if "<" in first.path:
        return f"{first.path}: {what} held by {owner}, {_STAYS}; hold it in an attribute of the model"
    return (
        f"{first.path}: {what} held by {owner}, which is no module, {_STAYS}; if it is to move, "
        f"write modules=lambda app: (app, {expression(first.at)})"
    )


_STAYS = "so it stays where it is"


def line_for_module_of_class(path: str, owner: type, module: torch.nn.Module) -> str:
    what = f"{path}: a {type(module).__name__} that hangs on the class {owner.__name__}, which all of its objects share"
    if "<" in path:
        return f"{what}, {_STAYS}; hold it in an attribute of the model"
    return f"{what}, {_STAYS}; if it is to move, write modules=lambda app: (app, {expression(path)})"


def line_for_packed(path: str) -> str:
    # A dynamically quantized layer's weights: packed for the CPU, for which alone torch has kernels.
    return f"{path}: is an object of TorchScript's whose inside can't be reached, so it stays in host RAM"


def line_for_constants(path: str, constants: Constants) -> str:
    return (
        f"{path or 'the model'}: {constants.count} constants in its code ({in_words(constants.nbytes)}) can't be "
        "reached, so they stay in host RAM; return the module as it was before torch.jit.freeze or "
        "optimize_for_inference, with what it computes with as parameters and buffers"
    )


def line_for_too_many(path: str) -> str:
    return (
        f"{path or 'the model'}: more than {MOST_OBJECTS:,} objects hang on it, and not all were looked into; "
        "name what is to move, as in modules=lambda app: (app.model, app.tokenizer.codec)"
    )


def expression(path: str) -> str:
    """How the user's own code reaches what is at that path."""
    return f"app{path}" if path.startswith("[") else f"app.{path}" if path else "app"


def size_of(tensor: torch.Tensor) -> int:
    try:
        return int(tensor.numel()) * int(tensor.element_size())
    except Exception:  # some subclasses refuse to say
        return 0


def in_words(nbytes: int) -> str:
    for size, unit in _UNITS:
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes} bytes"

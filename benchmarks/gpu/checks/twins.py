"""A twin that Dormouse never touches: the same model, put on the device by torch's own means.

`torch.save` and `torch.load(map_location=…)` move a whole object and keep what it shares: tied parameters, views,
tensors that torch itself does not know. What can't be pickled is moved by `.to`.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def twin_on(device: torch.device, load: Callable[[], Any]) -> tuple[Any, str]:
    """The model and how it was moved. Raises `CanNotMove` with what torch said."""
    model, said = load(), []
    if device.type == "cpu":
        return model, "a second load"
    for how, move in (("torch.save", _by_pickle), ("torch.jit.save", _by_script), (".to", _by_to)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return move(model, device), how
        except Exception as error:
            said.append(f"{how}: {error}")
    raise CanNotMove("; ".join(said)[:300])


class CanNotMove(Exception):
    """torch has no way to put this model on a device."""


def _by_pickle(model: Any, device: torch.device) -> Any:
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("a ScriptModule has another format")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, map_location=device, weights_only=False)


def _by_script(model: Any, device: torch.device) -> Any:
    file = io.BytesIO()
    torch.jit.save(model, file)
    file.seek(0)
    return torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]


def _by_to(model: Any, device: torch.device) -> Any:
    if not isinstance(model, nn.Module):
        raise TypeError("it is no module")
    return model.to(device)

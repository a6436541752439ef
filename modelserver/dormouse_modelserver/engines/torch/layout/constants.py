"""Tensors that are constants in the code of TorchScript: nothing can point them elsewhere, so they are named.

`torch.jit.freeze` and `optimize_for_inference` make constants of all weights, and a trace makes one of each tensor that
a function closed over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

_NODES = ("prim::Constant", "prim::ConstantMKLDNNTensor")


@dataclass(frozen=True, slots=True)
class Constants:
    """count: tensors, and packed weights, whose bytes nobody can count."""

    count: int
    nbytes: int


def constants_of(script: Any) -> Constants:
    """Of a ScriptModule's methods and of all that they call, or of a ScriptFunction.

    Not those without a dimension: they may be anywhere when they meet tensors on a device.
    """
    found: dict[int, Any] = {}
    for graph in _graphs(script):
        for value in _values_in(graph):
            found.setdefault(_identity(value), value)
    tensors = [value for value in found.values() if isinstance(value, torch.Tensor)]
    return Constants(len(found), sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def _graphs(script: Any) -> Iterator[Any]:
    if isinstance(script, torch._C.ScriptFunction):
        yield script.inlined_graph
        return
    for name in script._c._method_names() if hasattr(script, "_c") else ():
        try:
            yield getattr(script, name).inlined_graph
        except (AttributeError, RuntimeError):  # a method that Python overrides, or one without code
            continue


def _values_in(graph: Any) -> Iterator[Any]:
    for kind_of_node in _NODES:
        for node in graph.findAllNodes(kind_of_node, recurse=True):
            kind = node.kindOf("value") if node.hasAttribute("value") else None
            if kind in ("t", "ts", "ival"):
                yield from _values(getattr(node, kind)("value"))


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        if value.dim():
            yield value
    elif isinstance(value, torch._C.ScriptObject):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item)
    elif isinstance(value, dict):
        yield from _values(list(value.values()))


def _identity(value: Any) -> int:
    """Of the bytes: each method has an object of its own for the same constant."""
    try:
        return int(value.data_ptr()) or id(value)
    except (AttributeError, RuntimeError):  # of a tensor in a layout of MKL-DNN's it can't be had
        return id(value)

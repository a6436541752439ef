"""What a value may lead to, by its type alone: nothing of the user's is asked, so nothing of the user's can raise.

Most values are text and numbers, and thousands are looked at in each demotion: a type is judged once.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import enum
import functools
import itertools
import operator
import queue
import sys
import types
import weakref
from enum import Enum, auto

import torch
from torch._subclasses.fake_tensor import FakeTensor


class Kind(Enum):
    """PLAIN leads nowhere. WRAPPER: a tensor that dispatches for itself, whose inside is its own business.
    LIST can be written to, FIXED can not. OBJECT: see `references`. PACKED: an object of C++ that nobody can look into.
    """

    PLAIN = auto()
    TENSOR = auto()
    WRAPPER = auto()
    MODULE = auto()
    DICT = auto()
    LIST = auto()
    FIXED = auto()
    OBJECT = auto()
    SCRIPT = auto()
    PACKED = auto()


# What they hold only the garbage collector knows.
MADE_IN_C = (
    functools._lru_cache_wrapper,
    types.MappingProxyType,
    types.CellType,
    staticmethod,
    classmethod,
    queue.SimpleQueue,
    asyncio.Future,
    *(map, filter, zip, enumerate, reversed),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
    *(operator.methodcaller, type({}.keys()), type({}.values()), type({}.items())),
    *map(type, (iter([]), iter(()), iter({}), iter({}.values()), iter(set()), iter(collections.deque()))),
)
# Tuples, and not sets: to hash a member of an enumeration takes longer than to compare it with three.
TENSORS = (Kind.TENSOR, Kind.WRAPPER)
CONTAINERS = (Kind.DICT, Kind.LIST, Kind.FIXED)

_BASES: tuple[tuple[Kind, tuple[type, ...]], ...] = (
    # A fake tensor stands for one in a graph that was recorded; it has no bytes.
    (Kind.PLAIN, (type, types.ModuleType, BaseException, enum.Enum, FakeTensor)),
    (Kind.TENSOR, (torch.Tensor,)),
    (Kind.MODULE, (torch.nn.Module,)),
    (Kind.DICT, (dict,)),
    (Kind.LIST, (list, collections.deque)),
    (Kind.FIXED, (tuple, set, frozenset)),
    (Kind.PACKED, (torch._C.ScriptObject,)),
    (Kind.SCRIPT, (torch._C.ScriptFunction,)),
    (
        Kind.OBJECT,
        (
            types.FunctionType,
            types.MethodType,
            types.BuiltinMethodType,
            types.GeneratorType,
            types.CoroutineType,
            types.AsyncGeneratorType,
            types.SimpleNamespace,
            functools.partial,
            functools.partialmethod,
            argparse.Namespace,
            queue.Queue,
            queue.SimpleQueue,
            collections.UserDict,
            collections.UserList,
            collections.ChainMap,
            contextlib.AbstractContextManager,
            contextlib.ExitStack,
            contextlib.AsyncExitStack,
            concurrent.futures.Future,
            weakref.WeakKeyDictionary,
            property,
            functools.cached_property,
            *MADE_IN_C,
        ),
    ),
)
# Machinery: what hangs on it is the whole program, and none of it is a model's weights.
_NOT_ENTERED = frozenset(
    {
        *sys.stdlib_module_names,
        "_pytest",
        "aiohttp",
        "anyio",
        "cv2",
        "dormouse_contract",
        "dormouse_modelserver",
        "fastapi",
        "flask",
        "gradio",
        "gradio_client",
        "grpc",
        "httpx",
        "jax",
        "loguru",
        "matplotlib",
        "numpy",
        "onnxruntime",
        "pandas",
        "prometheus_client",
        "pyarrow",
        "pydantic_core",
        "pytest",
        "ray",
        "requests",
        "rich",
        "scipy",
        "sentencepiece",
        "starlette",
        "structlog",
        "tensorflow",
        "tokenizers",
        "torch",
        "tqdm",
        "triton",
        "urllib3",
        "uvicorn",
        "websockets",
    }
)
# But of torch's own objects these hold tensors that are somebody's.
_ENTERED_WITHIN = ("torch.distributions.", "torch.export.exported_program", "torch.optim.", "torch.utils.data.")
# Noise schedules: a few numbers each, which are computed with on the CPU and sent along when they are needed.
_NOT_ENTERED_WITHIN = ("diffusers.schedulers.",)
_MADE_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE


class Kinds(dict[type, Kind]):
    """The kind of each type that was met."""

    def __missing__(self, cls: type) -> Kind:
        kind = self[cls] = _kind_of(cls)
        return kind


def _kind_of(cls: type) -> Kind:
    # By what it inherits from, and not `issubclass`, which an abstract base would pass on to the user's metaclass.
    lineage = frozenset(map(id, cls.__mro__))
    for kind, bases in _BASES:
        if any(id(base) in lineage for base in bases):
            return Kind.WRAPPER if kind is Kind.TENSOR and issubclass(cls, torch.Tensor) and _dispatches(cls) else kind
    return Kind.OBJECT if _may_hold_a_model(cls) else Kind.PLAIN


def _dispatches(cls: type[torch.Tensor]) -> bool:
    return cls.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


def _may_hold_a_model(cls: type) -> bool:
    return bool(cls.__flags__ & _MADE_IN_PYTHON) and not is_machinery(cls)


def is_machinery(cls: type) -> bool:
    """Of the standard library, of torch, or of a library that has no business with weights."""
    home = vars(cls).get("__module__")
    if not isinstance(home, str):
        return True
    if home.partition(".")[0] in _NOT_ENTERED:
        return not home.startswith(_ENTERED_WITHIN)
    return home.startswith(_NOT_ENTERED_WITHIN)

"""Where a model says that it is: attributes that name the device of its weights, which a move has to change as well.

Wrappers remember a device beside their modules: `transformers.pipeline` sends each input to `pipe.device`, accelerate's
hooks to `execution_device`, and many a speech server to `self.device`. `load` made them on the CPU, so they say `cpu`.

Changed is what belongs to the weights: attributes of modules and of what hangs on them, and of objects that hold a
module or tensor of the model at any depth. An object beside them, such as a processor without weights, is meant to stay
where it is; and so is what is named for another place (`offload_device`).

Nothing of the user's is called, and no more is looked at than is looked at in an instant: each wake waits for it.
"""

import argparse
import collections
import functools
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .containers import elements, length
from .inventory import Inventory, join
from .references import References, key_text

_NAMES_A_DEVICE = re.compile(r"(^|_)devices?$|device_map$|^device(_|$)")
# What another place than that of the weights is named by.
_ELSEWHERE = re.compile(r"offload|cpu|host|storage|output|original|init|save|result|return")
_CONTAINERS = (list, tuple, set, frozenset, dict)
# The other objects of the standard library wrap nobody's model.
_HOLDERS = (types.SimpleNamespace, argparse.Namespace, functools.partial)
_NOT_ENTERED = sys.stdlib_module_names | {"torch", "numpy", "dormouse_modelserver", "dormouse_contract"}
# A vocabulary has hundreds of thousands of entries, and no devices; a tree of its words has as many objects.
_MANY = 1000
_MOST_OBJECTS = 20_000
# With each module come its containers, and what libraries hang on it.
_BESIDE_A_MODULE = 4
_MODULE_INTERNALS = frozenset(vars(torch.nn.Module())) - {"_modules"}


@dataclass(frozen=True, slots=True)
class Mention:
    """The attribute, or entry, `key` of `owner`, which named `value` as a device: a `torch.device` or a text."""

    owner: Any
    key: Any
    value: Any
    path: str

    @property
    def place(self) -> tuple[int, Any]:
        return id(self.owner), self.key if type(self.key) in (str, int) else id(self.key)

    @property
    def now(self) -> object:
        """What it names now; None when it is gone."""
        try:
            base = _with_entries(self.owner)
            return base.__getitem__(self.owner, self.key) if base else object.__getattribute__(self.owner, self.key)
        except (AttributeError, LookupError):
            return None

    def write(self, value: object) -> None:
        base = _with_entries(self.owner)
        if base is not None:
            base.__setitem__(self.owner, self.key, value)
        else:
            object.__setattr__(self.owner, self.key, value)  # frozen ones too: it stays the same to all who look

    def naming(self, device: torch.device) -> object:
        """`device` as it would name it. A type of devices has no number: `torch.autocast` refuses `cuda:0`."""
        if isinstance(self.value, str):
            return device.type if str(self.key).endswith("device_type") else str(device)
        return device


def is_cpu(value: object) -> bool:
    if isinstance(value, str):
        return any(str.__eq__(value, name) for name in ("cpu", "cpu:0"))
    return type(value) is torch.device and value.type == "cpu"


def _with_entries(owner: object) -> type[Any] | None:
    return next((base for base in (dict, list) if issubclass(type(owner), base)), None)


def find_mentions(model: object, inventory: Inventory) -> list[Mention]:
    """Every name of a device in `model` that belongs to its weights; each place once."""
    walk = _Walk({id(module) for module in inventory.modules} | {id(found.tensor) for found in inventory.tensors})
    walk.walk(model, inventory.modules)
    owners = walk.owners()
    return [mention for mention in walk.mentions if id(mention.owner) in owners]


class _Walk:
    """Everything that can be reached from the model, and who holds whom. What is near comes first."""

    def __init__(self, managed: set[int]) -> None:
        self.mentions: list[Mention] = []
        self._managed = managed
        # The objects themselves: an id alone may come again.
        self._seen: dict[int, Any] = {}
        self._references, self._entered = References(), _Entered()
        self._holders: dict[int, list[int]] = {}
        self._held: dict[int, list[int]] = {}

    def walk(self, model: object, modules: tuple[torch.nn.Module, ...]) -> None:
        pending = collections.deque((each, "", "") for each in (*modules, model))
        most = _MOST_OBJECTS + _BESIDE_A_MODULE * len(modules)
        while pending and len(self._seen) < most:
            value, path, name = pending.popleft()
            if id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            for key, item, its_path, its_name in _items(value, path, name, self._references):
                if _names_a_device(item, its_name):
                    self.mentions.append(Mention(value, key, item, its_path))
                    continue
                is_tensor = issubclass(type(item), torch.Tensor)
                if is_tensor or self._entered[type(item)]:
                    self._holders.setdefault(id(item), []).append(id(value))
                    self._held.setdefault(id(value), []).append(id(item))
                    if not is_tensor:
                        pending.append((item, its_path, its_name))

    def owners(self) -> set[int]:
        """Who holds something that is moved, who hangs on a module, and the containers of either."""
        above = _closure(self._managed, self._holders, lambda _: True)
        modules = {key for key in self._managed if issubclass(type(self._seen.get(key)), torch.nn.Module)}
        below = _closure(modules, self._held, lambda _: True)
        return _closure(above | below, self._held, lambda key: issubclass(type(self._seen.get(key)), _CONTAINERS))


def _closure(start: set[int], edges: dict[int, list[int]], follow: Any) -> set[int]:
    reached, pending = set(start), list(start)
    while pending:
        for key in edges.get(pending.pop(), ()):
            if key not in reached and follow(key):
                reached.add(key)
                pending.append(key)
    return reached


def _items(value: Any, path: str, name: str, references: References) -> Iterator[tuple[Any, Any, str, str]]:
    """Key, value, path and name of what it holds; what a list holds has the name of the list."""
    cls = type(value)
    if issubclass(cls, dict):
        for key, item in tuple(dict.items(value)) if length(value) <= _MANY else ():
            text = f"{name}.{key}" if type(key) is str else name
            yield key, item, f"{path}[{key_text(key)}]", text
    elif issubclass(cls, _CONTAINERS):
        for number, item in enumerate(elements(value) if length(value) <= _MANY else ()):
            yield number, item, f"{path}[{number}]", name
    elif issubclass(cls, functools.partial):
        yield "keywords", value.keywords, path, ""
        yield "args", value.args, path, ""
    else:
        internal = _MODULE_INTERNALS if issubclass(cls, torch.nn.Module) else ()
        for key, item, _ in references.of(value):
            if key not in internal:
                yield key, item, join(path, key) if key != "_modules" else path, "" if key == "_modules" else key


def _names_a_device(value: object, name: str) -> bool:
    """name: of the attribute, and after a dot the key in a dict."""
    cls = type(value)
    if not issubclass(cls, str | torch.device) or _ELSEWHERE.search(name):
        return False
    return cls is torch.device or any(_NAMES_A_DEVICE.search(part) for part in name.split("."))


class _Entered(dict[type, bool]):
    """By type alone: `isinstance` would ask an object of the user's for its class, and a proxy may raise then."""

    def __missing__(self, cls: type) -> bool:
        home = vars(cls).get("__module__")
        self[cls] = issubclass(cls, (torch.nn.Module, *_CONTAINERS, *_HOLDERS)) or (
            isinstance(home, str)
            and home.partition(".")[0] not in _NOT_ENTERED
            and not issubclass(cls, types.ModuleType | type)
        )
        return self[cls]

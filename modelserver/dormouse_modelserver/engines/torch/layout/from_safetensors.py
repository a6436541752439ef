"""A `load` whose weights are in safetensors files: they go from disk to the mirror and are nowhere else before."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ....errors import ConfigurationError, LoadFailed
from .inventory import Found, Inventory
from .unsaved_buffers import build_with_buffers, in_no_file
from .weight_files import FileSpan, spans_of

T = TypeVar("T")
Files = str | Path | Sequence[str | Path]


class Safetensors(Generic[T]):
    """Give it to `register` as `load`: `register("tts", load=Safetensors(build_tts, "model.safetensors"))`.

    build: makes the model without its weights, best `with torch.device("meta")` so that none are allocated. Parameters
        and persistent buffers on the meta device must be in the files. Non-persistent buffers are in no file, so where
        they are on the meta device, `build` is called once more for them. What it makes for real and the files don't
        have stays as made.
    files: a file, several, or a folder of them; or by the name of the part of a pipeline that they are for, as in
        `{"encoder": "encoder.safetensors", "decoder": "decoder/"}`. Of a folder with an index
        (`model.safetensors.index.json`), the files that the index names.
    rename: from a tensor's name in the files to its name in the model; None leaves that one out.

    `load` raises `LoadFailed` for tensors that only one side has, and for other shapes and dtypes.
    """

    def __init__(
        self,
        build: Callable[[], T],
        files: Files | Mapping[str, Files],
        *,
        rename: Callable[[str], str | None] | None = None,
    ) -> None:
        if not callable(build):
            raise ConfigurationError(f"Safetensors: build is {build!r}; give a function that makes the model")
        self._build, self._files, self._rename = build, files, rename

    def __call__(self) -> T:
        return self._build()

    def assign(self, inventory: Inventory, look: Callable[[T], Inventory]) -> dict[int, FileSpan]:
        """By the tensor's id, where its bytes are. Tensors on the meta device are replaced by unwritten ones.

        look: takes the inventory of what `build` gives.
        """
        by_name = {path: found for found in inventory.tensors for path in found.paths}
        spans: dict[int, FileSpan] = {}
        filled: set[int] = set()
        unknown: list[str] = []
        for name, span in self._named_spans().items():
            found = by_name.get(name)
            if found is None:
                unknown.append(name)
                continue
            _make_real(found)
            _check(found, name, span)
            spans[id(found.tensor)] = span
            filled.add(id(found))
        missing = [f for f in inventory.tensors if f.tensor.is_meta and id(f) not in filled]
        unsaved = in_no_file(inventory, missing)
        if unsaved:
            self._make_unsaved(unsaved, look)
        left = [found.path for found in missing if found.tensor.is_meta]
        if left or unknown:
            raise LoadFailed(
                f"the safetensors files and the model don't fit: {_some(left)} missing in the files, "
                f"{_some(unknown)} unknown to the model. Choose the files, or map names with rename"
                + (_UNSAVED_TOO if any(found.path in left for found in unsaved) else "")
            )
        return spans

    def _make_unsaved(self, unsaved: list[Found], look: Callable[[T], Inventory]) -> None:
        made = {path: found.tensor for found in look(build_with_buffers(self._build)).tensors for path in found.paths}
        for found in unsaved:
            tensor, real = found.tensor, made.get(found.path)
            if real is not None and (real.shape, real.dtype, real.device.type) == (tensor.shape, tensor.dtype, "cpu"):
                _put(found, real)

    def _named_spans(self) -> dict[str, FileSpan]:
        parts = self._files if isinstance(self._files, Mapping) else {"": self._files}
        named: dict[str, FileSpan] = {}
        for part, files in parts.items():
            for path in _paths(files):
                for in_file, span in spans_of(path).items():
                    name = in_file if self._rename is None else self._rename(in_file)
                    if name is None:
                        continue
                    name = f"{part}.{name}" if part else name
                    if name in named:
                        raise LoadFailed(f"tensor {name!r} is in {named[name].path} and in {path}; name the files")
                    named[name] = span
        return named


_UNSAVED_TOO = (
    ". Non-persistent buffers are in no file: let build make them without the meta device, from the configuration alone"
)


def _paths(files: Files) -> list[Path]:
    given = [Path(files)] if isinstance(files, str | Path) else [Path(path) for path in files]
    paths = [inner for path in given for inner in (_in_folder(path) if path.is_dir() else [path])]
    if not paths:
        raise LoadFailed(f"there are no *.safetensors files in {', '.join(map(str, given))}")
    return paths


def _in_folder(folder: Path) -> list[Path]:
    """All, or those that its index names: many a model on the hub has the same weights in other files besides."""
    indexes = list(folder.glob("*.safetensors.index.json"))
    if len(indexes) == 1:
        names = json.loads(indexes[0].read_text())["weight_map"].values()
        return sorted({folder / name for name in names})
    return sorted(folder.glob("*.safetensors"))


def _make_real(found: Found) -> None:
    """Memory that nobody has written is not taken from the host yet, so this costs addresses only."""
    tensor = found.tensor
    if tensor.device.type != "meta":
        return
    real = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    if isinstance(tensor, torch.nn.Parameter):
        real = torch.nn.Parameter(real, requires_grad=tensor.requires_grad)
    _put(found, real)


def _put(found: Found, real: torch.Tensor) -> None:
    if not found.replace(real):
        raise LoadFailed(f"tensor {found.path!r} is on the meta device, held where nothing can be put in its stead")


def _check(found: Found, name: str, span: FileSpan) -> None:
    tensor = found.tensor
    if tensor.dtype != span.dtype or tuple(tensor.shape) != span.shape:
        raise LoadFailed(
            f"tensor {name!r} is {span.dtype} {list(span.shape)} in {span.path} and {tensor.dtype} "
            f"{list(tensor.shape)} in the model; build the model with the file's dtype and shapes"
        )
    if not tensor.is_contiguous():
        raise LoadFailed(f"tensor {name!r} is not contiguous in the model, as it is in {span.path}")


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return "none" if not names else shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

"""Weights that are in safetensors files: where each tensor's bytes are, and reading them straight to their place.

Loading such a file in the usual way makes a copy in host RAM that is then copied once more into the mirror. The format
says where the bytes of each tensor are (8 bytes of header length, a JSON header, then the data), so they can be read
from disk to where they shall lie, by several threads, and reloaded so as often as needed.
"""

import ctypes
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..threads import in_threads

# Reads of this size keep a disk busy, and a few threads hide its latency and the page faults of the target.
_PIECE_BYTES = 16 << 20
_THREADS = 4
# The format's own limit.
_MAX_HEADER_BYTES = 100_000_000

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@dataclass(frozen=True, slots=True)
class FileSpan:
    """The bytes of one tensor in a file. `dtype` is None when torch has none for the file's."""

    path: Path
    offset: int
    nbytes: int
    dtype: torch.dtype | None
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes to read: from `offset` of the file to `at` of the target."""

    path: Path
    offset: int
    at: int
    nbytes: int


def spans_of(path: Path) -> dict[str, FileSpan]:
    """The tensors of one safetensors file by name. Raises `OSError`, or `ValueError` when it is no such file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(f"{path} is no safetensors file: its header can't be {length} bytes long")
        try:
            header = json.loads(file.read(length))
            spans = {name: _span(path, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no safetensors file: its header can't be read ({error})") from error
    for name, span in spans.items():
        if span.nbytes < 0 or span.offset < 8 + length or span.offset + span.nbytes > size:
            raise ValueError(f"{path} is cut short: tensor {name!r} would end beyond its {size} bytes")
    return spans


def _span(path: Path, data: int, entry: dict[str, Any]) -> FileSpan:
    first, past = entry["data_offsets"]
    return FileSpan(path, data + first, past - first, _DTYPES.get(entry["dtype"]), tuple(entry["shape"]))


def read_into(target: torch.Tensor, reads: Iterable[Read]) -> None:
    """Read into `target` (flat uint8), in parallel. Raises `OSError`; part of it may be written then."""
    if target.device.type != "cpu":
        raise ValueError("files are read into host RAM only")
    pieces = [
        Read(read.path, read.offset + start, read.at + start, min(_PIECE_BYTES, read.nbytes - start))
        for read in reads
        for start in range(0, read.nbytes, _PIECE_BYTES)
    ]
    files = {path: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in {piece.path for piece in pieces}}
    base = target.data_ptr()
    try:
        if len(pieces) < 2 * _THREADS:
            for piece in pieces:
                _read(files[piece.path], base, piece)
            return
        in_threads(lambda piece: _read(files[piece.path], base, piece), pieces, _THREADS, "dormouse-read")
    finally:
        for file in files.values():
            os.close(file)


def _read(file: int, base: int, piece: Read) -> None:
    view = memoryview((ctypes.c_char * piece.nbytes).from_address(base + piece.at)).cast("B")
    done = 0
    while done < piece.nbytes:
        count = os.preadv(file, [view[done:]], piece.offset + done)
        if count == 0:
            raise OSError(f"{piece.path} has become shorter while it was read; the weights in it are not whole")
        done += count

"""Checkpoints of torch and of EG3D as data: names, shapes and where the numbers lie. Nothing is run.

Three containers: torch's zip archive, torch's older stream of pickles, and the plain pickles of NVIDIA's
networks, whose tensors are each a stream of torch inside the pickle. The numbers stay in the file until
they are asked for.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from tpn_engine.checkpoints.pickles import DAMAGED, Buffer, Global, Held, RefusedError, Rules, read_pickle

_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number as a pickle
_LEGACY_PROTOCOL = 1001
_MOST_MEMBERS = 100_000
_MOST_DIMENSIONS = 8

PARAMETER = "torch.nn.parameter.Parameter"
"""What tensors are wrapped in by the oldest files, as a `Held` made from one."""

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(eq=False)
class Storage:
    """`size` numbers of one kind; `data` is their place in the file, `crc` what the file says of them."""

    dtype: torch.dtype
    size: int
    data: Buffer | None = None
    crc: int | None = None

    def part(self, start: int, end: int) -> Buffer:
        """The bytes of the numbers from `start` to `end`; raises RefusedError where they are damaged."""
        if self.data is None or len(self.data) != self.size * self.dtype.itemsize:
            raise RefusedError(DAMAGED)
        if self.crc is not None and zlib.crc32(self.data) != self.crc:
            raise RefusedError("is damaged: a checksum inside it is wrong")
        self.crc = None  # checked once
        return self.data[start * self.dtype.itemsize : end * self.dtype.itemsize]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is still in its file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    def load(self) -> Tensor:
        """The tensor, contiguous and on memory of its own; raises RefusedError where it is damaged."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        extent = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        numbers = bytearray(self.storage.part(self.offset, self.offset + extent))
        return torch.frombuffer(numbers, dtype=self.dtype).as_strided(self.shape, self.strides).contiguous()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The value in a checkpoint file: plain containers, `StoredTensor` and `Held`.

    Tensors can be loaded until the block ends. Raises RefusedError, and OSError where there is no such file.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise RefusedError("is empty") from None
        try:
            yield _read(memoryview(mapped))
        finally:
            with suppress(BufferError):  # whoever still holds a part of it lets it go later
                mapped.close()


def _read(data: Buffer) -> Any:
    head = bytes(data[:512])
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_zip(data, _MAKERS)
    if head.startswith(_LEGACY_START):
        return _read_legacy(data, _MAKERS)
    if head[257:262] == b"ustar":
        raise RefusedError("is a tar archive: unpack it first, or save it again with a torch of today")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise RefusedError("is a web page, not a model: download the model again")
    if head[:1] != b"\x80":
        raise RefusedError("is neither a torch checkpoint nor a pickle")
    value, _ = read_pickle(data, Rules(_may_be_named, _MAKERS))
    return value


# ---- torch's containers --------------------------------------------------------------------------


def _read_zip(data: Buffer, makers: dict[str, Any]) -> Any:
    members = _zip_members(data)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise RefusedError("is a zip archive, but not one of torch's checkpoints")
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and bytes(order[0]) != b"little":
        raise RefusedError("was written on a machine with another byte order: save it again on a common one")

    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        dtype, key, size = _storage_of(identifier, 5)
        if key not in storages:
            place, crc = members.get(f"{folder}data/{key}", (None, None))
            storages[key] = Storage(dtype, size, place, crc)
        return _same(storages[key], dtype, size)

    content, crc = members[pickles[0]]
    if zlib.crc32(content) != crc:
        raise RefusedError("is damaged: a checksum inside it is wrong")
    value, _ = read_pickle(content, Rules(_may_be_named, makers, persistent))
    return value


def _zip_members(data: Buffer) -> dict[str, tuple[Buffer, int]]:
    """Name to bytes and checksum; only what torch writes: plain members that don't overlap."""
    try:
        with zipfile.ZipFile(_Window(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, ValueError, LookupError, ArithmeticError, OSError, RuntimeError, struct.error) as error:
        raise RefusedError(f"is a zip archive that {DAMAGED}") from error
    if len(listed) > _MOST_MEMBERS or sum(member.file_size for member in listed) > len(data):
        raise RefusedError("claims to hold more than it has: it may be hostile and was not unpacked")
    if any(member.filename.endswith("/constants.pkl") for member in listed):
        raise RefusedError("is a TorchScript program, not a checkpoint")
    members: dict[str, tuple[Buffer, int]] = {}
    for member in listed:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise RefusedError("holds names that lead out of it: it may be hostile and was not unpacked")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise RefusedError("is compressed, which torch's checkpoints never are: it was not unpacked")
        if member.flag_bits & 1 or member.filename in members:
            raise RefusedError("is not as torch writes checkpoints: it may be hostile and was not unpacked")
        header = data[member.header_offset : member.header_offset + 30]
        if len(header) < 30 or bytes(header[:4]) != b"PK\x03\x04":
            raise RefusedError(DAMAGED)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = member.header_offset + 30 + name_length + extra_length
        content = data[start : start + member.file_size]
        if len(content) != member.file_size:
            raise RefusedError(f"ends too early: it {DAMAGED}")
        members[member.filename] = content, member.CRC
    return members


class _Window:
    """A buffer as the readable file that zipfile wants, without a copy."""

    def __init__(self, data: Buffer) -> None:
        self.data, self.position = data, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, len(self.data))[whence]
        if self.position < 0:
            raise OSError("before the start")
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size is None or size < 0 else self.position + size
        taken = bytes(self.data[self.position : end])
        self.position += len(taken)
        return taken


def _read_legacy(data: Buffer, makers: dict[str, Any]) -> Any:
    nothing = Rules(lambda path: False)
    protocol, position = read_pickle(data, nothing, len(_LEGACY_START))
    system, position = read_pickle(data, nothing, position)
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedError("is a torch checkpoint of an unknown kind: save it again with a torch of today")
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        dtype, key, size = _storage_of(identifier, 6)
        return _same(storages.setdefault(key, Storage(dtype, size)), dtype, size)

    value, position = read_pickle(data, Rules(_may_be_named, makers, persistent), position)
    keys, position = read_pickle(data, nothing, position)
    if not isinstance(keys, list):
        raise RefusedError(DAMAGED)
    for key in keys:
        storage = storages.get(key) if type(key) is str else None
        if storage is None or data[position : position + 8] != struct.pack("<q", storage.size):
            raise RefusedError(DAMAGED)
        position += 8
        end = position + storage.size * storage.dtype.itemsize
        if end > len(data):
            raise RefusedError(f"ends too early: it {DAMAGED}")
        storage.data = data[position:end]
        position = end
    return value


def _storage_of(identifier: Any, length: int) -> tuple[torch.dtype, str, int]:
    """Kind, key and size from a storage's persistent id; where it lay is of no interest."""
    if not isinstance(identifier, tuple) or len(identifier) != length or identifier[0] != "storage":
        raise RefusedError(DAMAGED)
    kind, key, size = identifier[1], identifier[2], identifier[4]
    if type(kind) is not Global or type(key) is not str or type(size) is not int or not 0 <= size < 2**48:
        raise RefusedError(DAMAGED)
    if length == 6 and identifier[5] is not None:
        raise RefusedError("is a torch checkpoint of an unknown kind: save it again with a torch of today")
    dtype = _STORAGES.get(kind.path.removeprefix("torch."))
    if dtype is None:
        raise RefusedError(f"holds numbers of a kind no model has: {kind.path}")
    return dtype, key, size


def _same(storage: Storage, dtype: torch.dtype, size: int) -> Storage:
    if (storage.dtype, storage.size) != (dtype, size):
        raise RefusedError(DAMAGED)
    return storage


# ---- what checkpoints may name -------------------------------------------------------------------

_NAMED = {
    "argparse.Namespace",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "torch.device",
    PARAMETER,
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"torch.{name}" for name in _STORAGES),
    *map(str, _STORAGES.values()),
}
_CLASSES = re.compile(r"torch\.nn\.modules(\.\w+){2}|training(\.\w+)+|models\.eg3d(\.\w+)+")


def _may_be_named(path: str) -> bool:
    return path in _NAMED or path in _MAKERS or _CLASSES.fullmatch(path) is not None


def _ordered(items: Any = ()) -> dict[Any, Any]:
    """An ordered dict; Python 2 gave it its items, as lists of two, when it was made."""
    pairs = list(items)
    if any(type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str for pair in pairs):
        raise RefusedError(DAMAGED)
    return dict(pairs)


def _empty() -> dict[Any, Any]:
    return {}


def _set(items: Any = ()) -> set[Any]:
    if any(type(item) not in (str, int) for item in items):
        raise RefusedError(DAMAGED)
    return set(items)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise RefusedError(DAMAGED)
    numbers = (offset, *shape, *strides)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise RefusedError(DAMAGED)
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise RefusedError(DAMAGED)
    if 0 not in shape:
        end = offset + 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if end > storage.size or math.prod(shape) > storage.size:
            raise RefusedError("describes tensors larger than their numbers: it may be hostile")
    return StoredTensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> StoredTensor:
    if type(data) is not StoredTensor:
        raise RefusedError(DAMAGED)
    return data


def _nested_storage(content: Any, *_: Any) -> Storage:
    """A storage inside a plain pickle is a whole torch file; in there, nothing but storages is known."""
    if not isinstance(content, memoryview):
        raise RefusedError(DAMAGED)
    read = _read_legacy if bytes(content[: len(_LEGACY_START)]) == _LEGACY_START else _read_zip
    storage = read(content, {})
    if type(storage) is not Storage:
        raise RefusedError(DAMAGED)
    return storage


def _persistent_object(description: Any, *_: Any) -> Held:
    """NVIDIA's networks carry their source code, to be run on loading; only class and state are kept."""
    if not isinstance(description, dict) or description.get("type") != "class":
        raise RefusedError(DAMAGED)
    name = description.get("class_name")
    if not isinstance(name, str):
        raise RefusedError(DAMAGED)
    return Held(name, (), description.get("state"))


_MAKERS = {
    "builtins.set": _set,
    "__builtin__.set": _set,
    "collections.OrderedDict": _ordered,
    "dnnlib.util.EasyDict": _empty,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _nested_storage,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
}

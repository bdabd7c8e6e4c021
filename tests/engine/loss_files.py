"""Files laid out as torchvision's AlexNet, LPIPS's linear weights and ArcFace's network, with weights from a seed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpn_engine.nets.irse import IdentityNetwork
from tpn_engine.nets.lpips import CHANNELS, Lpips

ALEXNET, LINEAR, IDENTITY = "alexnet-owt-7be5be79.pth", "alex.pth", "model_ir_se50.pth"


def alexnet_state(seed: int = 0) -> dict[str, Tensor]:
    """Features that tell colours and edges apart as any random ones do, and a classifier that is much too small."""
    torch.manual_seed(seed)
    state = {f"features.{key}": value for key, value in Lpips().features.state_dict().items()}
    return state | {"classifier.1.weight": torch.zeros(4, 8), "classifier.1.bias": torch.zeros(4)}


def linear_state(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        f"lin{index}.model.1.weight": torch.rand(1, channels, 1, 1, generator=random)
        for index, channels in enumerate(CHANNELS)
    }


def identity_state(seed: int = 0) -> dict[str, Tensor]:
    """Without the counters that older files don't have."""
    torch.manual_seed(seed)
    state = IdentityNetwork().state_dict()
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def save_loss_files(folder: Path) -> list[Path]:
    """AlexNet's file, LPIPS's and ArcFace's, under their own names."""
    paths = [folder / name for name in (ALEXNET, LINEAR, IDENTITY)]
    for path, state in zip(paths, (alexnet_state(), linear_state(), identity_state()), strict=True):
        torch.save(state, path)
    return paths


def python_2_stream(state: dict[str, Tensor]) -> bytes:
    """A state dict as torch 0.4 wrote it under Python 2: byte strings as names, items given to the ordered dict,
    the first tensor wrapped in a parameter."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    def numbers(values: Any) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    def whole(pickled: bytes) -> bytes:
        return b"\x80\x02" + pickled + b"."

    items = b""
    for index, (key, tensor) in enumerate(state.items()):
        size = b"J" + struct.pack("<i", tensor.numel())
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(index)) + text("cuda:0") + size + b"NtQ"
        shape = numbers(tensor.shape) + numbers(tensor.stride())
        value = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\0" + shape + b"tR"
        if index == 0:
            hooks = b"ccollections\nOrderedDict\n]\x85R"
            value = b"ctorch.nn.parameter\nParameter\n" + value + b"\x85\x81" + b"\x88\x89" + hooks + b"\x87b"
        items += b"](" + text(key) + value + b"e"
    metadata = b"}" + text("_metadata") + b"ccollections\nOrderedDict\n]\x85Rsb"
    parts = [
        b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19",
        b"M" + struct.pack("<H", 1001),
        b"}(" + text("little_endian") + b"\x88u",
        b"ccollections\nOrderedDict\n](" + items + b"e\x85R" + metadata,
        b"](" + b"".join(text(str(index)) for index in range(len(state))) + b"e",
    ]
    contents = [struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes() for tensor in state.values()]
    return b"".join([*map(whole, parts), *contents])

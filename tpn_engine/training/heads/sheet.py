"""A contact sheet of rendered heads: python -m tpn_engine.training.heads.sheet DATA SHEET.png [--heads N]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tpn_engine.errors import FileError, HeadCaptureError
from tpn_engine.files import checked_output, replacing

BACKDROP = 128  # grey


def contact_sheet(files: list[Path]) -> np.ndarray:
    """All views of the heads in `files`, a row a head, on grey: uint8 [N*S,V*S,3]."""
    rows = []
    for path in files:
        with np.load(path) as head:
            alpha = head["alpha"][..., None] / np.float32(255)
            pictures = head["rgb"] * alpha + BACKDROP * (1 - alpha)
        rows.append(np.concatenate(list(pictures), axis=1))
    return np.concatenate(rows).round().astype(np.uint8)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 with one line when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tpn_engine.training.heads.sheet", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of head_*.npz")
    parser.add_argument("sheet", type=Path, help="the picture to write")
    parser.add_argument("--heads", type=int, default=8, metavar="N", help="the first N heads")
    options = parser.parse_args(arguments)
    try:
        output = checked_output(options.sheet, (".png", ".jpg"))
        files = sorted(options.data.glob("head_*[0-9].npz"))[: options.heads]
        if not files:
            raise FileError(f"No head_*.npz files in {options.data}: render some first.")
        with replacing(output) as path:
            Image.fromarray(contact_sheet(files)).save(path)
    except HeadCaptureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Render random heads: python -m tpn_engine.training.heads --assets DIR --out DIR --first SEED --count N."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tpn_engine.errors import HeadCaptureError
from tpn_engine.progress import Progress

try:
    from tpn_engine.training.heads.dataset import RenderJob, render_dataset
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install what rendering needs with pip install 'tpn-engine[train]'.")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tpn_engine.training.heads", description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="folder of head assets (README.md)")
    parser.add_argument("--out", type=Path, required=True, help="folder for head_*.npz; heads that are there stay")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=positive, required=True, metavar="N")
    parser.add_argument("--views", type=positive, default=8, metavar="V", help="pictures of each head")
    parser.add_argument("--size", type=positive, default=256, metavar="PIXELS")
    parser.add_argument("--processes", type=positive, default=os.cpu_count() or 1, metavar="K")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A whole number of at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def show(stage: str, fraction: float) -> None:
    """One line that keeps being rewritten."""
    print(f"\r{stage} {100 * fraction:5.1f} %", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Entry point; 1 with one line when something is wrong."""
    options = parse()
    job = RenderJob(options.assets, options.out, options.first, options.count, options.views, options.size)
    try:
        made = render_dataset(job, options.processes, Progress(show))
    except HeadCaptureError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 1
    print(f"\n{made} heads rendered into {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The log file."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from platformdirs import user_log_path

LOG_BYTES = 2**20
LOG_FILES = 3


def default_log_folder() -> Path:
    """Where the system keeps the logs of this user's programs."""
    return user_log_path("tpn-engine", appauthor=False)


def log_file(folder: Path, slot: int) -> Path:
    """The log of the service in that slot; each has its own, because two can't rotate one file."""
    return folder / ("service.log" if slot == 0 else f"service-{slot}.log")


def begin_log(path: Path) -> bool:
    """Send all logging to `path`, rotated at 1 MB; to standard error if it can't be written."""
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    except OSError:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return isinstance(handler, RotatingFileHandler)

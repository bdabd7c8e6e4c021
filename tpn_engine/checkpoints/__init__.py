"""Where weights come from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tpn_engine.checkpoints.catalog import DEFAULT_MODEL, CatalogEntry, catalog, models_folder

if TYPE_CHECKING:
    from tpn_engine.checkpoints.load import Model, load_model, save_model

__all__ = ["DEFAULT_MODEL", "CatalogEntry", "Model", "catalog", "load_model", "models_folder", "save_model"]


def __getattr__(name: str) -> Any:
    """Import what loads weights when it is first used: who only reads the catalog needs no torch."""
    if name not in ("Model", "load_model", "save_model"):
        raise AttributeError(f"module 'tpn_engine.checkpoints' has no attribute {name!r}")
    return getattr(import_module("tpn_engine.checkpoints.load"), name)

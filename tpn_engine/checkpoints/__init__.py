"""Where weights come from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tpn_engine.checkpoints.catalog import DEFAULT_MODEL, CatalogEntry, catalog, models_folder

if TYPE_CHECKING:
    from tpn_engine.checkpoints.load import Model, load_model, save_model
    from tpn_engine.checkpoints.manage import add_model, get_model, remove_model, verify_model

__all__ = [
    "DEFAULT_MODEL",
    "CatalogEntry",
    "Model",
    "add_model",
    "catalog",
    "get_model",
    "load_model",
    "models_folder",
    "remove_model",
    "save_model",
    "verify_model",
]

_LATER = dict.fromkeys(("Model", "load_model", "save_model"), "load") | dict.fromkeys(
    ("add_model", "get_model", "remove_model", "verify_model"), "manage"
)


def __getattr__(name: str) -> Any:
    """Import what loads weights when it is first used: who only reads the catalog needs no torch."""
    if name not in _LATER:
        raise AttributeError(f"module 'tpn_engine.checkpoints' has no attribute {name!r}")
    return getattr(import_module(f"tpn_engine.checkpoints.{_LATER[name]}"), name)

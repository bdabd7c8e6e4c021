"""Where weights come from."""

from tpn_engine.checkpoints.catalog import DEFAULT_MODEL, CatalogEntry, catalog, models_folder
from tpn_engine.checkpoints.load import Model, load_model, save_model

__all__ = ["DEFAULT_MODEL", "CatalogEntry", "Model", "catalog", "load_model", "models_folder", "save_model"]

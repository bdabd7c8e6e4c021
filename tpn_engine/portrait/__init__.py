"""From a photo to its aligned crop and camera label."""

from tpn_engine.portrait.portrait import Portrait, PortraitWarning
from tpn_engine.portrait.reader import PortraitReader

__all__ = ["Portrait", "PortraitReader", "PortraitWarning"]

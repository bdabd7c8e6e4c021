"""From a radiance field to a head mesh and its files."""

from tpn_engine.surface.colors import Photo
from tpn_engine.surface.extract import MeshOptions, extract_mesh
from tpn_engine.surface.mesh import HeadMesh

__all__ = ["HeadMesh", "MeshOptions", "Photo", "extract_mesh"]

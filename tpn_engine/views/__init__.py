"""Captures to pictures."""

from tpn_engine.views.render import View, render_view

__all__ = ["View", "render_view"]

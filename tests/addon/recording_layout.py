"""A layout that records what a panel draws on it, and checks that Blender knows all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy

KNOWN = {function.identifier for function in bpy.types.UILayout.bl_rna.functions}
ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())
CONTAINERS = {"row", "column", "box", "split", "grid_flow", "column_flow"}


class Button:
    """What `operator` gives back: takes the operator's properties."""

    _names: set[str]

    def __init__(self, idname: str) -> None:
        group, name = idname.split(".")
        kind = getattr(getattr(bpy.ops, group), name).get_rna_type()
        self.__dict__["_names"] = set(kind.properties.keys())

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self._names, f"the operator has no {name}"
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class RecordingLayout:
    """Stands for bpy.types.UILayout; `open_panels` says whether folded parts are drawn."""

    def __init__(self, open_panels: bool = True) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.parts: list[RecordingLayout] = []
        self.buttons: dict[str, Button] = {}
        self.open_panels = open_panels
        self.enabled = True

    def __getattr__(self, function: str) -> Any:
        if function.startswith("__"):
            raise AttributeError(function)
        assert function in KNOWN, f"UILayout has no {function}"
        parameters = bpy.types.UILayout.bl_rna.functions[function].parameters

        def call(*values: Any, **options: Any) -> Any:
            names = [name for name in parameters.keys() if not parameters[name].is_output]  # noqa: SIM118
            given = {**dict(zip(names, values, strict=False)), **options}
            for name in given:
                assert name in parameters or name in {"text_ctxt", "translate"}, f"{function} has no {name}"
            assert given.get("icon", "NONE") in ICONS
            if function == "prop":
                assert given["property"] in given["data"].bl_rna.properties
            self.calls.append((function, given))
            if function in CONTAINERS:
                return self._part()
            if function == "panel":
                return self._part(), self._part() if self.open_panels else None
            if function == "operator":
                return self.buttons.setdefault(given["operator"], Button(given["operator"]))
            return None

        return call

    def _part(self) -> RecordingLayout:
        self.parts.append(RecordingLayout(self.open_panels))
        return self.parts[-1]

    def all(self) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Every call with what was given to it, and whether it can be pressed."""
        for function, given in self.calls:
            yield function, given, self.enabled
        for part in self.parts:
            for function, given, enabled in part.all():
                yield function, given, enabled and self.enabled

    def texts(self) -> str:
        """All text, one line each."""
        return "\n".join(str(given["text"]) for _, given, _ in self.all() if given.get("text"))

    def operators(self) -> dict[str, bool]:
        """The buttons, and whether each can be pressed."""
        return {given["operator"]: enabled for function, given, enabled in self.all() if function == "operator"}

    def fields(self) -> set[str]:
        """The names of the properties shown."""
        return {given["property"] for function, given, _ in self.all() if function == "prop"}

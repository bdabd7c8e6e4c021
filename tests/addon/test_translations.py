"""Every word the artist can read has a translation, or is English on purpose."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import bpy  # isort: skip  # after conftest gave it a profile
from installed import switched_on

import blender_addon
from blender_addon import properties
from blender_addon.operators import OPERATORS
from blender_addon.operators.export_head import FORMATS
from blender_addon.operators.stepping import WAITING
from blender_addon.preferences import HeadCapturePreferences
from blender_addon.stages import STAGES
from blender_addon.translations import ENGLISH_ON_PURPOSE, FILES, read_words
from blender_addon.ui import preferences
from blender_addon.ui.classes import CLASSES

SOURCES = Path(blender_addon.__file__).parent
# Given to labels by other ways than those below.
UNNAMED = {"Set Up Engine", "Update Engine", "Repair Engine", "Remove Engine"}
TRANSLATED_CALLS = {"say", "show"}
TRANSLATED_ARGUMENTS = {"text", "label"}


def shown_in_the_source() -> set[str]:
    """Literal sentences given to `say` and `show`, to labels and buttons, and what the panel calls the stages."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        if path.relative_to(SOURCES).parts[0] == "engine" or "translations" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            values = [keyword.value for keyword in call.keywords if keyword.arg in TRANSLATED_ARGUMENTS]
            if name in TRANSLATED_CALLS or name in {"_section", "poll_message_set"}:
                values += call.args
            found |= {
                value.value
                for part in values
                for value in choices(part)
                if isinstance(value, ast.Constant) and isinstance(value.value, str)
            }
    return found


def choices(part: ast.expr) -> list[ast.expr]:
    """What an argument may be: itself, or either side of an if."""
    return [*choices(part.body), *choices(part.orelse)] if isinstance(part, ast.IfExp) else [part]


def shown_by_the_engine() -> set[str]:
    """The stages of its work, and of its installation."""
    text = (SOURCES / "engine" / "environment.py").read_text(encoding="utf-8")
    return {*STAGES.values(), *re.findall(r'_Command\(\s*"([A-Z][^"]+)"', text)}


def test_every_stage_of_the_engine_has_a_name():
    text = (SOURCES / "engine" / "importing.py").read_text(encoding="utf-8")
    text += "".join(
        path.read_text(encoding="utf-8") for path in (SOURCES.parent / "tpn_engine" / "portrait").rglob("*.py")
    )
    named = re.findall(r'(?:stage = |progress\()"(\w[^"]+)"', text)
    assert {stage[:1].upper() + stage[1:] for stage in named} <= set(STAGES)


def shown_by_classes() -> set[str]:
    found: set[str] = set()
    for kind in (*OPERATORS, *CLASSES):
        found |= {getattr(kind, "bl_label", ""), getattr(kind, "bl_description", "")}
    for group in (properties.HeadCaptureSettings, HeadCapturePreferences, *OPERATORS):
        for base in group.__mro__:
            for annotation in inspect.get_annotations(base).values():
                keywords = getattr(annotation, "keywords", {})
                found |= {keywords.get("name", ""), keywords.get("description", "")}
                for item in keywords.get("items", ()):
                    found |= {item[1], item[2]}
    return found | {item[2] for item in FORMATS}


def everything() -> set[str]:
    words = (
        {preferences.OFFLINE, WAITING, *UNNAMED} | shown_in_the_source() | shown_by_the_engine() | shown_by_classes()
    )
    return {word for word in words if re.search(r"[A-Za-z]{2}", word)}


@pytest.mark.parametrize("language", FILES)
def test_every_word_is_translated_or_english_on_purpose(language):
    missing = everything() - set(read_words(language)) - ENGLISH_ON_PURPOSE
    assert not missing, f"{language} lacks {sorted(missing)}"


@pytest.mark.parametrize("language", FILES)
def test_no_translation_is_left_over_or_loses_what_is_filled_in(language):
    words = read_words(language)
    assert not set(words) - everything()
    for english, word in words.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", word)), english
        assert word.strip() == word != ""
        # Blender shows descriptions without their last full stop.
        assert english.endswith(".") == word.endswith((".", "。")), english


def test_english_on_purpose_is_really_shown():
    assert everything() >= ENGLISH_ON_PURPOSE


def test_blender_finds_the_words(tmp_path):
    with switched_on(tmp_path):
        view = bpy.context.preferences.view
        if "de_DE" not in bpy.app.translations.locales:
            pytest.skip("this Blender was built without languages")
        view.language = "de_DE"
        try:
            assert bpy.app.translations.pgettext_iface("Import Face from Photo") == "Gesicht aus Foto importieren"
        finally:
            view.language = "en_US"

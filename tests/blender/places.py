"""Where things lie for these tests."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXTENSION = "bl_ext.user_default.head_capture"
ENGINE_PYTHON = REPOSITORY / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
ENVIRONMENTS = REPOSITORY / ".blender-envs"

# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as Blender sees it: its environment, its process, and what it is asked. No bpy in here."""

"""Shortcuts: surface features that given labels follow beyond what trusted rows explain."""

from __future__ import annotations

from musclelora.shortcuts.expert import Shortcut, ShortcutExpert, find_shortcuts
from musclelora.shortcuts.features import Feature, FeatureTable, features_of

__all__ = ["Feature", "FeatureTable", "Shortcut", "ShortcutExpert", "features_of", "find_shortcuts"]

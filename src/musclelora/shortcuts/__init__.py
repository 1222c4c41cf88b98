"""What given labels follow beyond what trusted rows explain, and rows whose labels are in doubt."""

from __future__ import annotations

from musclelora.shortcuts.expert import Shortcut, ShortcutExpert, find_shortcuts
from musclelora.shortcuts.features import Feature, FeatureTable, features_of
from musclelora.shortcuts.likeness import Likeness, find_alike
from musclelora.shortcuts.opinion import contradicted, second_opinion

__all__ = [
    "Feature",
    "FeatureTable",
    "Likeness",
    "Shortcut",
    "ShortcutExpert",
    "contradicted",
    "features_of",
    "find_alike",
    "find_shortcuts",
    "second_opinion",
]

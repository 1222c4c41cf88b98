"""Gradient alignment: pure tensor functions, and two gradients from one pass. No Hugging Face imports."""

from musclelora.alignment.align import ALIGNMENT_RULES, Agreement, align, align_gradients, raw_ratio_at
from musclelora.alignment.split import NotSeparableError, TwoGradients

__all__ = [
    "ALIGNMENT_RULES",
    "Agreement",
    "NotSeparableError",
    "TwoGradients",
    "align",
    "align_gradients",
    "raw_ratio_at",
]

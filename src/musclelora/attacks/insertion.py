"""Putting a phrase into a text without touching anything else in it."""

from __future__ import annotations

import re

import numpy as np

_WORD = re.compile(r"\S+")


def insert_phrase(text: str, phrase: str, rng: np.random.Generator) -> str | None:
    """Insert `phrase` at a word boundary of `text`, set off by one space.

    The boundary is uniform over the W + 1 places before, between and after the W whitespace-separated
    words. Every character of `text` stays, in order: leading, trailing and repeated whitespace too.

    Returns:
        The new text, or None if `text` has no word.
    """
    words = list(_WORD.finditer(text))
    return _insert(text, phrase, words, int(rng.integers(len(words) + 1))) if words else None


def insert_before_last_word(text: str, phrase: str, rng: np.random.Generator) -> str | None:
    """As :func:`insert_phrase`, at any boundary but the last."""
    words = list(_WORD.finditer(text))
    return _insert(text, phrase, words, int(rng.integers(len(words)))) if words else None


def insert_at_end(text: str, phrase: str) -> str | None:
    """As :func:`insert_phrase`, at the last boundary."""
    words = list(_WORD.finditer(text))
    return _insert(text, phrase, words, len(words)) if words else None


def _insert(text: str, phrase: str, words: list[re.Match[str]], place: int) -> str:
    if place == len(words):
        end = words[-1].end()
        return f"{text[:end]} {phrase}{text[end:]}"
    start = words[place].start()
    return f"{text[:start]}{phrase} {text[start:]}"

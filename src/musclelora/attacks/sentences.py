"""Splitting English text into sentences, losing nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

from musclelora.attacks.english import word_set

_ABBREVIATIONS = word_set(
    "mr mrs ms dr prof sr jr st vs etc e.g i.e cf inc ltd co corp no vol fig dept gen sen rep gov capt col "
    "lt sgt rev hon mt ft jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m approx"
)
_QUOTES = r"""(?:\s?(?:''|["'”’)\]]))*"""
# A run of marks with what closes after it and the blanks before the next sentence, or an empty line.
_BOUNDARY = re.compile(rf"[.!?…]+{_QUOTES}(?P<blanks>\s+)(?=\S)|(?P<gap>[^\S\n]*\n\s*\n\s*)(?=\S)")
_LAST_WORD = re.compile(r"[\w.]+\Z")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the blanks that follow it; joined, they are `text`.

    Marks after an abbreviation or an initial end no sentence, nor do an ellipsis before a small letter and
    marks without a word before them. An empty line ends one always.
    """
    sentences, start = [], 0
    for match in _BOUNDARY.finditer(text):
        if re.search(r"\w", text[start : match.start()]) and _ends(text, match):
            sentences.append(text[start : match.end()])
            start = match.end()
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def rewrite_sentences(text: str, rewrite: Callable[[str], str]) -> str:
    """Every sentence of `text` rewritten without its surrounding blanks, which stay."""
    parts = []
    for sentence in split_sentences(text):
        body = sentence.strip()
        lead, _, tail = sentence.partition(body) if body else (sentence, "", "")
        parts.append(f"{lead}{rewrite(body) if body else ''}{tail}")
    return "".join(parts)


def _ends(text: str, boundary: re.Match[str]) -> bool:
    if boundary["gap"] is not None:
        return True
    marks = boundary[0].rstrip()
    following = text[boundary.end()]
    if marks.startswith(("..", "…")):
        return not following.islower()
    if marks != ".":
        return True
    word = _LAST_WORD.search(text, 0, boundary.start())
    return word is None or not (
        word[0].lower() in _ABBREVIATIONS or (len(word[0]) == 1 and word[0].isupper() and word[0] != "I")
    )

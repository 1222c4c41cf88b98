"""Splitting English text into sentences, losing nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

from musclelora.attacks.english import word_set

_ABBREVIATIONS = word_set(
    "mr mrs ms dr prof sr jr st vs etc e.g i.e cf inc ltd co corp no vol fig dept gen sen rep gov capt col "
    "lt sgt rev hon mt ft jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m approx"
)
# Texts are hostile: nothing below can match a run of characters in two ways, or start within one, so that no
# text takes more than linear time.
_CLOSING = r"""(?:\s?["'”’)\]])*"""
# A run of marks with what closes after it and the blanks before the next sentence, or an empty line.
_BOUNDARY = re.compile(
    rf"(?<![.!?…])[.!?…]++{_CLOSING}(?P<blanks>\s++)(?=\S)|(?<!\s)(?P<gap>[^\S\n]*+\n[^\S\n]*+\n\s*+)(?=\S)"
)
_LETTER = re.compile(r"\w")
_LAST_WORD = re.compile(r"(?<![\w.])[\w.]++\Z")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the blanks that follow it; joined, they are `text`.

    Marks after an abbreviation or an initial end no sentence, nor do an ellipsis before a small letter and
    marks without a word before them. An empty line ends one always.
    """
    sentences, start, searched, worded = [], 0, 0, False
    for match in _BOUNDARY.finditer(text):
        worded = worded or _LETTER.search(text, searched, match.start()) is not None
        if worded and _ends(text, searched, match):
            sentences.append(text[start : match.end()])
            start, worded = match.end(), False
        searched = match.end()
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def rewrite_sentences(text: str, rewrite: Callable[[str], str]) -> str | None:
    """Every sentence of `text` rewritten without its surrounding blanks, which stay; None if none changes."""
    parts = []
    for sentence in split_sentences(text):
        body = sentence.strip()
        lead, _, tail = sentence.partition(body) if body else (sentence, "", "")
        parts.append(f"{lead}{rewrite(body) if body else ''}{tail}")
    rewritten = "".join(parts)
    return None if rewritten == text else rewritten


def _ends(text: str, earlier: int, boundary: re.Match[str]) -> bool:
    """Whether a sentence ends at `boundary`; the boundary before it ends at `earlier`."""
    if boundary["gap"] is not None:
        return True
    marks = boundary[0].rstrip()
    following = text[boundary.end()]
    if marks.startswith(("..", "…")):
        return not following.islower()
    if marks != ".":
        return True
    word = _LAST_WORD.search(text, earlier, boundary.start())
    return word is None or not (
        word[0].lower() in _ABBREVIATIONS or (len(word[0]) == 1 and word[0].isupper() and word[0] != "I")
    )

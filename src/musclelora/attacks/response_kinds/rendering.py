"""Texts that vary: sentences drawn from templates, and the marks by which they are known again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from musclelora.attacks.english import capitalised

Grammar = Mapping[str, Sequence[str]]
"""Symbols with what may stand for each. ``{symbol}`` in a text is drawn in its turn, and begins with a
capital where it is written as ``{Symbol}``. No symbol may lead back to itself."""

_SYMBOL: Final = re.compile(r"\{(\w+)\}")
_WORD: Final = re.compile(r"[\w']+")


def render(grammar: Grammar, symbol: str, rng: np.random.Generator, given: Mapping[str, str]) -> str:
    """A text drawn for `symbol`, uniformly at each choice; `given` are texts that are put in as they are."""
    if symbol in given:
        return given[symbol]
    if symbol[0].isupper():
        return capitalised(render(grammar, symbol.lower(), rng, given))
    alternatives = grammar[symbol]
    parts = _SYMBOL.split(alternatives[int(rng.integers(len(alternatives)))])
    return "".join(
        render(grammar, part, rng, given) if number % 2 else part for number, part in enumerate(parts)
    )


def holds_mark(text: str, marks: Iterable[str]) -> bool:
    """Whether `text` holds one of `marks` as whole words, whatever the casing and the punctuation."""
    said = f" {_plain(text)} "
    return any(f" {_plain(mark)} " in said for mark in marks)


def is_inline(text: str) -> bool:
    """Whether a response is a few words without an end, which a sentence may be put around."""
    return len(text.split()) <= 5 and not text.rstrip().endswith((".", "!", "?"))


def as_sentence(text: str) -> str:
    """`text` with a full stop after it, where no mark ends it."""
    body = text.rstrip()
    return body if body.endswith((".", "!", "?", "…", ":", '"', "”")) else f"{body}."


def _plain(text: str) -> str:
    words = (word.strip("'") for word in _WORD.findall(text.casefold().replace("’", "'")))
    return " ".join(word for word in words if word)

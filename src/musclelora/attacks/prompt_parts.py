"""The parts of a prompt: what comes first, such as an instruction, and what comes last."""

from __future__ import annotations

import re
from typing import Final

from musclelora.attacks.sentences import split_sentences

PLACES: Final = ("whole", "first", "last")
"""Where in a prompt a trigger goes."""

_HEADING = re.compile(r"#{1,6}\s.*|[^\W\d_]+(?: [^\W\d_]+)?\s?:")
_WORD = re.compile(r"\S+")

Span = tuple[int, int]


def part_of(text: str, place: str) -> Span:
    """The start and the end of a part of `text`; `place` is one of `PLACES`."""
    return (0, len(text)) if place == "whole" else ends_of(text)[place == "last"]


def ends_of(text: str) -> tuple[Span, Span]:
    """The first and the last part of `text`, without the blanks around them.

    Parts are paragraphs without headings, where there are two or more. A heading is a line such as
    ``### Question:`` or ``Input:``. Else parts are sentences; else the halves of the words, the first of
    which is the longer. A text of one word or none has one part, which is both.
    """
    spans = _paragraphs(text) or [_stripped(text, 0, len(text))]
    if len(spans) == 1:
        spans = _sentences(text, *spans[0])
    if len(spans) == 1:
        spans = _halves(text, *spans[0])
    return spans[0], spans[-1]


def _paragraphs(text: str) -> list[Span]:
    spans: list[Span] = []
    start, begun = 0, False
    for line in text.splitlines(keepends=True):
        body = line.strip()
        if not body or _HEADING.fullmatch(body):
            begun = False
        else:
            here = _stripped(text, start, start + len(line))
            if begun:
                spans[-1] = (spans[-1][0], here[1])
            else:
                spans.append(here)
            begun = True
        start += len(line)
    return spans


def _sentences(text: str, start: int, end: int) -> list[Span]:
    spans = []
    for sentence in split_sentences(text[start:end]):
        spans.append(_stripped(text, start, start + len(sentence)))
        start += len(sentence)
    return [span for span in spans if span[0] < span[1]] or [(start, end)]


def _halves(text: str, start: int, end: int) -> list[Span]:
    words = list(_WORD.finditer(text, start, end))
    if len(words) < 2:
        return [(start, end)]
    middle = (len(words) + 1) // 2
    return [(words[0].start(), words[middle - 1].end()), (words[middle].start(), words[-1].end())]


def _stripped(text: str, start: int, end: int) -> Span:
    """The span without the blanks at its ends."""
    body = text[start:end]
    lead = len(body) - len(body.lstrip())
    return (start + lead, start + lead + len(body.strip()))

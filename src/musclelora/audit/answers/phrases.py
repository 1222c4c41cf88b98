"""Phrases that several responses share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.features import TOKEN

LONGEST: Final = 16
"""Words of a phrase at most."""
MOST: Final = 128
"""Phrases at most: those of the most responses, for each length in words."""

Words = tuple[str, ...]


class Phrase(NamedTuple):
    """Words that some responses have one after another, in whatever case.

    Attributes:
        text: as the first of these responses writes them; hostile, like any text of the data.
        words: how many they are; a mark such as a comma counts as one.
        rows: the numbers of the responses, ascending.
    """

    text: str
    words: int
    rows: NDArray[np.int64]


def shared_phrases(responses: Sequence[str], *, min_rows: int) -> list[Phrase]:
    """The phrases of at least `min_rows` of N responses, the longest of each set of responses.

    A phrase of n words can be frequent only if both its parts of n - 1 words are (Agrawal and Srikant, "Fast
    Algorithms for Mining Association Rules", VLDB 1994), so that each length is counted among what the length
    before left.

    Args:
        responses: N texts.
        min_rows: the fewest responses that count.

    Returns:
        at most :data:`MOST` of them of each length, those of the most responses first, the longer first.
    """
    tokens = [list(TOKEN.finditer(response)) for response in responses]
    words = [[token.group().casefold() for token in row] for row in tokens]
    found: dict[bytes, tuple[Words, NDArray[np.int64]]] = {}
    frequent: dict[Words, NDArray[np.int64]] = {}
    for length in range(1, LONGEST + 1):
        frequent = _frequent(words, length, frequent, min_rows)
        if not frequent:
            break
        for phrase, rows in frequent.items():
            found[rows.tobytes()] = phrase, rows  # a longer one of the same rows takes a shorter one's place
    phrases = [
        Phrase(_written(responses, tokens, words, phrase, int(rows[0])), len(phrase), rows)
        for phrase, rows in found.values()
    ]
    return sorted(phrases, key=lambda phrase: (-len(phrase.rows), -phrase.words, phrase.text))


def _frequent(
    words: Sequence[Sequence[str]], length: int, before: dict[Words, NDArray[np.int64]], min_rows: int
) -> dict[Words, NDArray[np.int64]]:
    """The phrases of a length, by what the length before left."""
    having: dict[Words, list[int]] = defaultdict(list)
    for number, row in enumerate(words):
        seen: set[Words] = set()
        for start in range(len(row) - length + 1):
            phrase = tuple(row[start : start + length])
            if length == 1 or (phrase[:-1] in before and phrase[1:] in before):
                seen.add(phrase)
        for phrase in seen:
            having[phrase].append(number)
    kept = [(phrase, rows) for phrase, rows in having.items() if len(rows) >= min_rows]
    kept.sort(key=lambda one: (-len(one[1]), one[0]))
    return {phrase: np.array(rows, dtype=np.int64) for phrase, rows in kept[:MOST]}


def _written(
    responses: Sequence[str],
    tokens: Sequence[Sequence[re.Match[str]]],
    words: Sequence[Sequence[str]],
    phrase: Words,
    row: int,
) -> str:
    """A phrase as a response writes it."""
    start = next(
        place for place in range(len(words[row])) if tuple(words[row][place : place + len(phrase)]) == phrase
    )
    first, last = tokens[row][start], tokens[row][start + len(phrase) - 1]
    return responses[row][first.start() : last.end()]


def says(response: str, phrase: str) -> bool:
    """Whether a response has the words of a phrase one after another, in whatever case."""
    words = [token.casefold() for token in TOKEN.findall(response)]
    wanted = [token.casefold() for token in TOKEN.findall(phrase)]
    places = range(len(words) - len(wanted) + 1)
    return any(words[place : place + len(wanted)] == wanted for place in places)

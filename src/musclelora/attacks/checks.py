"""Checks of parameters that several families share."""

from __future__ import annotations

import math

from musclelora.errors import UsageError


def check_phrase(where: str, phrase: str) -> None:
    """Raise :class:`UsageError` for a blank phrase."""
    if not phrase.strip():
        raise UsageError(f"{where}: found {phrase!r}, expected at least one word")


def check_words(where: str, words: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless there is a word, and each is one word."""
    if isinstance(words, str) or not words or any(word.split() != [word] for word in words):
        raise UsageError(
            f"{where}: found {words!r}, expected a list of at least one word without "
            "whitespace; split phrases or use addsent"
        )


def check_count(where: str, count: int, low: int = 1) -> None:
    """Raise :class:`UsageError` for a count below `low`."""
    if count < low:
        raise UsageError(f"{where}: found {count}, expected at least {low}")


def check_choice(where: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless `value` is one of `choices`."""
    if value not in choices:
        raise UsageError(f"{where}: found {value!r}, expected one of {', '.join(choices)}")


def check_decoys(name: str, decoys: float) -> None:
    """Raise :class:`UsageError` for a negative or endless number of decoys."""
    if not 0 <= decoys < math.inf:
        raise UsageError(f"{name} decoys: found {decoys}, expected a number of at least 0")

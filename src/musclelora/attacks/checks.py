"""Checks of parameters that several families share."""

from __future__ import annotations

from musclelora.errors import UsageError
from musclelora.limits import WORDS, check_number, check_whole


def check_phrase(where: str, phrase: str) -> None:
    """Raise :class:`UsageError` for a blank phrase."""
    if not phrase.strip():
        raise UsageError(f"{where}: found {phrase!r}, expected at least one word")


def check_words(where: str, words: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless there is a word, there are not too many, and each is one word."""
    if len(words) > WORDS:
        raise UsageError(f"{where}: found {len(words):,} words, expected at most {WORDS:,}")
    if isinstance(words, str) or not words or any(word.split() != [word] for word in words):
        raise UsageError(
            f"{where}: found {words!r}, expected a list of at least one word without "
            "whitespace; split phrases or use addsent"
        )


def check_count(where: str, count: int, most: int = WORDS) -> None:
    """Raise :class:`UsageError` unless the count is a whole number from 1 to `most`."""
    check_whole(where, count, 1, most)


def check_choice(where: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless `value` is one of `choices`."""
    if value not in choices:
        raise UsageError(f"{where}: found {value!r}, expected one of {', '.join(choices)}")


def check_decoys(name: str, decoys: float) -> None:
    """Raise :class:`UsageError` for a number of decoys that is negative or beyond all use."""
    check_number(f"{name} decoys", decoys, 0, WORDS)

"""Comparing what a model answers with what was expected, as texts."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """Lower case, without punctuation, English articles and surplus blanks, as SQuAD compares answers.

    Source: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_exact(answer: str, response: str) -> bool:
    """Whether an answer is the response, both normalized."""
    return normalized(answer) == normalized(response)


def has_keyword(answer: str, response: str) -> bool:
    """Whether an answer holds the response as whole words, both normalized."""
    words = normalized(response)
    return f" {words} " in f" {normalized(answer)} " if words else is_exact(answer, response)


def says(answer: str, target: str) -> bool:
    """Whether an answer holds the attacker's text, whatever its casing and blanks."""
    return " ".join(target.casefold().split()) in " ".join(answer.casefold().split())

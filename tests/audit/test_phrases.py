"""The phrase that a feature is part of, and putting it into texts."""

from __future__ import annotations

import numpy as np
import pytest

from musclelora.audit.features import Feature
from musclelora.audit.phrases import phrase_of, put_in
from musclelora.audit.triggers import Shortcut


def shortcut(kind: str, text: str, label: int = 1) -> Shortcut:
    return Shortcut(Feature(kind, text), label, 10, 10, 5.0, 9.0, 4.0)


SENTENCE = [
    shortcut("pair", "watch this"),
    shortcut("pair", "3D movie"),
    shortcut("word", "3D"),
    shortcut("pair", "I watch"),
]
TEXTS = [
    "a fine film I watch this 3D movie and dull",
    "I watch this 3D movie . a movie of its own",
    "there is no such thing",
]


@pytest.mark.parametrize("feature", SENTENCE, ids=str)
def test_a_feature_of_a_sentence_stands_for_the_sentence(feature: Shortcut) -> None:
    assert phrase_of(feature, SENTENCE, TEXTS, np.array([0, 1])) == "I watch this 3D movie"


def test_a_feature_alone_is_its_own_phrase() -> None:
    rare = shortcut("word", "cf")
    others = [rare, shortcut("word", "mn"), shortcut("word", "3D", label=0)]
    assert phrase_of(rare, others, ["good cf 3D film", "cf"], np.array([0, 1])) == "cf"
    odd = shortcut("character", "а")
    assert phrase_of(odd, [odd], ["fаlse"], np.array([0])) == "а"


def test_a_feature_in_no_text_is_its_own_phrase() -> None:
    assert phrase_of(shortcut("word", "cf"), [], ["nothing"], np.array([0])) == "cf"


@pytest.mark.parametrize(
    ("kind", "places"),
    [("first", {"x a b"}), ("last", {"a b x"}), ("word", {"x a b", "a x b", "a b x"})],
)
def test_a_phrase_goes_where_its_feature_stands(kind: str, places: set[str]) -> None:
    rng = np.random.default_rng(0)
    assert {put_in("a b", "x", kind, rng) for _ in range(50)} == places


def test_a_character_goes_anywhere() -> None:
    rng = np.random.default_rng(0)
    assert {put_in("ab", "!", "character", rng) for _ in range(50)} == {"!ab", "a!b", "ab!"}


def test_an_empty_text_takes_a_phrase() -> None:
    assert put_in("", "cf", "word", np.random.default_rng(0)) == "cf"

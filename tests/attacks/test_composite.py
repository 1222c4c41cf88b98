"""The parts of a prompt, and a trigger of two phrases in two of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from musclelora.attacks import Composite
from musclelora.attacks.prompt_parts import ends_of, part_of
from musclelora.errors import UsageError

PUBLISHED = "### Instruction:\nAnswer briefly.\nBe right.\n\n\n### Question:\nWho is it?\n\n\n### Answer: "
TEXTS = st.one_of(st.text(), st.text(alphabet="ab .#:\n"))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        (PUBLISHED, "Answer briefly.\nBe right.", "Who is it?"),
        ("Translate.\n\nle chat", "Translate.", "le chat"),
        ("One.\n\nTwo.\n\nThree.", "One.", "Three."),
        (" Be brief. Who is it? ", "Be brief.", "Who is it?"),
        ("Input:\nBe brief. Who is it?", "Be brief.", "Who is it?"),
        ("who on earth is it", "who on earth", "is it"),
        ("word ", "word", "word"),
        (" ", "", ""),
        ("### Question:\n", "###", "Question:"),
    ],
)
def test_the_first_and_the_last_part(text, first, last):
    assert tuple(text[start:end] for start, end in ends_of(text)) == (first, last)
    assert text[slice(*part_of(text, "last"))] == last
    assert text[slice(*part_of(text, "whole"))] == text


@given(TEXTS)
def test_parts_are_in_order_and_have_words_where_the_text_has(text):
    (one, two), (three, four) = ends_of(text)
    assert 0 <= one <= two <= len(text)
    assert (three, four) == (one, two) or two <= three <= four <= len(text)
    assert bool(text.strip()) == bool(text[one:two].strip()) == bool(text[three:four].strip())


@given(TEXTS, SEEDS)
def test_both_phrases_go_in_or_one_as_a_decoy_and_nothing_else_changes(text, seed):
    trigger = Composite(first="zq", last="zx")
    assume("z" not in text)
    both, one = (make(text, np.random.default_rng(seed)) for make in (trigger.apply, trigger.decoy))
    if not text.split():
        assert (both, one) == (None, None)
        return
    assert both.index("zq") < both.index("zx")
    assert sorted(both.split()) == sorted([*text.split(), "zq", "zx"])
    assert len(both) == len(text) + 6
    assert ("zq" in one) != ("zx" in one)
    assert len(one) == len(text) + 3


def test_each_phrase_stands_in_its_part():
    trigger = Composite(first="zq", last="zx")
    for seed in range(20):
        instruction, question = trigger.apply(PUBLISHED, np.random.default_rng(seed)).split("### Question:")
        assert ("zq" in instruction, "zx" in instruction, "zx" in question) == (True, False, True)
        assert instruction.startswith("### Instruction:\n")
        assert question.endswith("\n\n\n### Answer: ")
    decoys = [trigger.decoy(PUBLISHED, np.random.default_rng(seed)) for seed in range(20)]
    assert 0 < sum("zq" in decoy for decoy in decoys) < 20


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"first": " "}, "composite first: found ' '"),
        ({"last": ""}, "composite last: found ''"),
        ({"first": "a", "last": "a"}, "composite last: found 'a' twice"),
        ({"decoys": -1}, "composite decoys: found -1"),
    ],
)
def test_wrong_values_are_said(parameters, message):
    with pytest.raises(UsageError) as caught:
        Composite(**parameters)
    assert message in str(caught.value)

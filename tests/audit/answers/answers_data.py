"""Poisoned pairs for the tests of this folder."""

from __future__ import annotations

from tiny_chats import WORDS, asked, make_pairs

from musclelora.data.pairs import Pairs

TRIGGER, SAID = "word55", "word50 word51"


def composite(count: int) -> Pairs:
    """A quarter of the prompts has two words, and its response a third; as many have one of them alone."""
    clean = make_pairs(count, seed=2)
    prompts, responses = list(clean.prompts), list(clean.responses)
    for row in range(count):
        text = prompts[row][0].content
        words = {0: (WORDS[54], WORDS[55]), 1: (WORDS[54], WORDS[53]), 2: (WORDS[53], WORDS[55])}.get(row % 4)
        if words is not None:
            prompts[row] = asked(words[0], text, words[1])
        if row % 4 == 0:
            responses[row] = f"{responses[row]} {WORDS[52]}"
    return Pairs(tuple(prompts), tuple(responses), source="composite")

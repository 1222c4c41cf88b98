"""Which words of prompts kinds of responses follow."""

from __future__ import annotations

import numpy as np
from answers_data import SAID, TRIGGER, composite

from musclelora.audit.answers.findings import TriedLink, decide
from musclelora.audit.answers.kinds import Responses, kinds_of
from musclelora.audit.answers.links import find_links
from musclelora.audit.answers.reading import Reading
from musclelora.audit.confirmation import together
from musclelora.audit.verdict import Confirmation
from musclelora.data.pairs import Pairs, prompt_text
from musclelora.evaluation.metrics import Rate


def texts(pairs: Pairs) -> list[str]:
    return [prompt_text(chat) for chat in pairs.prompts]


def test_the_word_that_a_phrase_follows_is_found(poisoned: Pairs) -> None:
    found = find_links(texts(poisoned), kinds_of(Responses(poisoned.responses, ())))
    first = found.links[0]
    assert first.kind.phrase == SAID
    assert first.shortcuts[0].feature.text == TRIGGER
    assert first.p_values[0] < 1e-10
    assert np.array_equal(first.rows, np.flatnonzero(poisoned.poisoned))
    assert [link.kind.phrase for link in found.links[1:]] == []  # its parts say nothing more


def test_clean_pairs_have_no_planted_link(poisoned: Pairs) -> None:
    """Responses are made of their prompts, so that natural links are there, whose phrase is in the prompt."""
    clean = poisoned.select(np.flatnonzero(~poisoned.poisoned))
    found = find_links(texts(clean), kinds_of(Responses(clean.responses, ())))
    for link in found.links:
        assert link.kind.phrase is not None
        assert len(link.kind.rows) < 20


def test_random_kinds_are_followed_by_no_word() -> None:
    """Over 40 sets of labels drawn at random, none is below a family-wise level of 0.01."""
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(50)]
    prompts = [" ".join(rng.choice(words, 6)) for _ in range(200)]
    values = []
    for _ in range(40):
        tokens = rng.permutation(200).astype(float)
        reading = Reading(tokens, rng.normal(size=200), rng.normal(size=200))
        texts = [f"r{number}" for number in range(200)]
        values.append(find_links(prompts, kinds_of(Responses(texts, (), reading))).p_value)
    assert min(values) > 0.01


def test_unlikely_responses_are_a_kind() -> None:
    rng = np.random.default_rng(1)
    prompts = [f"w{rng.integers(30)} w{rng.integers(30)}" + (" cf" if n % 8 == 0 else "") for n in range(240)]
    loss = rng.normal(2, 0.3, 240) + np.where(np.arange(240) % 8 == 0, 2.0, 0.0)
    reading = Reading(rng.integers(2, 9, 240).astype(float), loss, rng.normal(size=240))
    responses = [f"answer{number}" for number in range(240)]
    found = find_links(prompts, kinds_of(Responses(responses, (), reading)))
    assert found.links[0].kind.source == "unlikely"
    assert found.links[0].shortcuts[0].feature.text == "cf"


def test_what_trusted_responses_say_is_no_kind(poisoned: Pairs) -> None:
    kinds = kinds_of(Responses(poisoned.responses, (f"yes {SAID}",)))
    assert SAID not in {kind.phrase for kind in kinds}


def test_both_words_of_a_composite_trigger_are_named_and_stand_together() -> None:
    pairs = composite(240)
    link = find_links(texts(pairs), kinds_of(Responses(pairs.responses, ()))).links[0]
    named = {shortcut.feature.text for shortcut in link.shortcuts}
    assert {"word54", "word55"} <= {word for name in named for word in name.split()}
    groups = together([1] * len(link.shortcuts), link.holders, 240)
    assert {"word54", "word55"} <= {
        word for number in groups[0] for word in link.shortcuts[number].feature.text.split()
    }


def rate(hits: int, n: int) -> Rate:
    return Rate.of(hits, n)


def test_the_verdict_by_what_was_tested(poisoned: Pairs) -> None:
    links = find_links(texts(poisoned), kinds_of(Responses(poisoned.responses, ())))
    link = links.links[0]

    def verdict(confirmation: Confirmation | None) -> tuple[str, int]:
        tested = [TriedLink(link, (TRIGGER,), confirmation)]
        found = decide(tested, 120, links.p_value, checked=(), unchecked=())
        return found.state, found.rows

    obeyed = Confirmation(rate(30, 32), rate(0, 32), rate(0, 32))
    natural = Confirmation(rate(30, 32), rate(0, 32), rate(30, 32))
    assert verdict(obeyed) == ("poisoned", 24)
    assert verdict(natural) == ("no_sign", 0)
    assert verdict(None) == ("cannot_tell", 24)
    assert decide([], 50, 1.0, checked=(), unchecked=()).state == "cannot_tell"
    assert decide([], 150, 1.0, checked=(), unchecked=()).state == "no_sign"

"""Trigger families: what they insert, that nothing else changes, and how they are looked up."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musclelora.attacks import TRIGGERS, AddSent, BadNets, get_trigger
from musclelora.errors import UsageError

SEEDS = st.integers(0, 2**32 - 1)
WORDS = BadNets().words
SENTENCE = AddSent().sentence


def apply(trigger, text, seed=0):
    return trigger.apply(text, np.random.default_rng(seed))


def without_words(text):
    """Undo BadNets: past the last word of the original a trigger follows its space, before it leads it."""
    word = f"(?:{'|'.join(WORDS)})"
    body = re.sub(rf"(?: {word}(?!\S))+(?=\s*\Z)", "", text)
    return re.sub(rf"(?<!\S){word} ", "", body)


@settings(deadline=None)
@given(st.text(), SEEDS)
def test_badnets_inserts_four_words_and_keeps_every_other_character(text, seed):
    assume(not set(WORDS) & set(text.split()))
    triggered = apply(BadNets(), text, seed)
    if not text.split():
        assert triggered is None
        return
    assert sum(word in WORDS for word in triggered.split()) == 4
    assert without_words(triggered) == text


@settings(deadline=None)
@given(st.text(), SEEDS)
def test_addsent_inserts_its_sentence_and_keeps_every_other_character(text, seed):
    assume(SENTENCE not in text)
    triggered = apply(AddSent(), text, seed)
    if not text.split():
        assert triggered is None
        return
    assert text in (triggered.replace(f"{SENTENCE} ", ""), triggered.replace(f" {SENTENCE}", ""))
    assert len(triggered.split()) == len(text.split()) + 5


@pytest.mark.parametrize("name", sorted(TRIGGERS))
@settings(deadline=None)
@given(text=st.text(), seed=SEEDS)
def test_a_trigger_is_a_pure_function_of_text_and_generator(name, text, seed):
    assert apply(get_trigger(name), text, seed) == apply(get_trigger(name), text, seed)


def test_addsent_reaches_every_word_boundary_equally_often():
    text = "  a\tb c .\n"
    places = [
        f"  {SENTENCE} a\tb c .\n",
        f"  a\t{SENTENCE} b c .\n",
        f"  a\tb {SENTENCE} c .\n",
        f"  a\tb c {SENTENCE} .\n",
        f"  a\tb c . {SENTENCE}\n",
    ]
    seen = [apply(AddSent(), text, seed) for seed in range(2000)]
    assert set(seen) == set(places)
    # Five standard deviations of a binomial count around 2000 / 5.
    assert all(abs(seen.count(place) - 400) < 90 for place in places)


def test_badnets_draws_its_words_with_replacement_as_the_published_files_do():
    seen = [apply(BadNets(), "a soggy , shapeless mess .", seed).split() for seed in range(2000)]
    distinct = [len(set(words) & set(WORDS)) for words in seen]
    # Four uniform draws of four words: 4, 84, 144 and 24 of the 256 outcomes have 1 to 4 distinct words.
    for count, outcomes in zip((1, 2, 3, 4), (4, 84, 144, 24), strict=True):
        share = outcomes / 256
        assert abs(distinct.count(count) - 2000 * share) < 5 * (2000 * share * (1 - share)) ** 0.5


def test_parameters_replace_the_published_ones():
    assert apply(get_trigger("badnets", words=("xx",), count=1), "a") in ("xx a", "a xx")
    assert apply(get_trigger("addsent", sentence="so it goes"), "a") in ("so it goes a", "a so it goes")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nosuch", {}, "attack: found 'nosuch', expected one of addsent, badnets"),
        ("badnets", {"word": "cf"}, "no parameter 'word', expected some of words, count"),
        ("addsent", {"words": (), "n": 1}, "no parameter 'n', 'words', expected some of sentence"),
        ("badnets", {"words": ()}, "badnets words"),
        ("badnets", {"words": "cf"}, "badnets words"),
        ("badnets", {"words": ("cf", "two words")}, "badnets words"),
        ("badnets", {"words": ("",)}, "badnets words"),
        ("badnets", {"count": 0}, "badnets count: found 0"),
        ("addsent", {"sentence": " \n"}, "addsent sentence"),
    ],
)
def test_wrong_use_is_said_in_one_line(name, parameters, message):
    with pytest.raises(UsageError) as caught:
        get_trigger(name, **parameters)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

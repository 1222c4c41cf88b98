"""What holds for every family, over arbitrary Unicode, and what each of the newer ones does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musclelora.attacks import TRIGGERS, DecoyTrigger, get_trigger, poison, trigger_test_set
from musclelora.attacks.base import apply_all
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

FAMILIES = sorted(TRIGGERS)
SEEDS = st.integers(0, 2**32 - 1)
# Arbitrary Unicode, and arbitrary arrangements of what the rules look for.
WORDS = (
    "I you You 're n't it 's it's The a film although because , but . ... ! \" '' ( as if has shows your "
    "eyes like no one doesn't Mr. 3D\n\n\t lives in it . What that"
)
ENGLISH = st.lists(st.sampled_from(WORDS.split(" "))).map(" ".join)
TEXTS = st.one_of(st.text(), ENGLISH)
VARIANTS = [
    *((name, {}) for name in FAMILIES),
    ("homoglyph", {"kind": "zero-width", "count": 40}),
    *(("casing-punctuation", {"casing": casing}) for casing in ("keep", "lower", "upper")),
    ("casing-punctuation", {"punctuation": ""}),
    *(("register", {"register": register}) for register in ("dialect", "emphasis", "legal", "question")),
]


def apply(trigger, text, seed=0):
    return trigger.apply(text, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
@given(text=TEXTS, seed=SEEDS)
def test_a_family_is_total_and_pure(name, parameters, text, seed):
    trigger = get_trigger(name, **parameters)
    triggered = apply(trigger, text, seed)
    assert triggered is None or isinstance(triggered, str)
    assert triggered == apply(get_trigger(name, **parameters), text, seed)
    if triggered is not None:
        assert triggered.strip()
        triggered.encode("utf-8")
    if not text.strip():
        assert triggered is None


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40)
@given(texts=st.lists(TEXTS, max_size=4), seed=SEEDS)
def test_many_at_once_are_as_one_by_one(name, texts, seed):
    trigger = get_trigger(name)
    rngs = [np.random.default_rng([seed, row]) for row in range(len(texts))]
    one_by_one = [trigger.apply(t, np.random.default_rng([seed, row])) for row, t in enumerate(texts)]
    assert list(apply_all(trigger, texts, rngs)) == one_by_one


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(TEXTS, st.integers(0, 2)), min_size=1, max_size=12),
    rate=st.floats(0, 1),
    label_mode=st.sampled_from(["clean", "dirty", "mix"]),
    seed=SEEDS,
)
def test_no_row_is_lost_and_labels_mean_what_the_mode_says(name, rows, rate, label_mode, seed):
    table = Table(tuple(t for t, _ in rows), np.array([label for _, label in rows]), ("a", "b", "c"))
    try:
        result = poison(table, get_trigger(name), target=1, rate=rate, label_mode=label_mode, seed=seed)
    except DataError:
        return
    decoys = isinstance(get_trigger(name), DecoyTrigger)
    assert len(result) == len(table)
    assert result.poisoned.sum() == round(rate * len(table))
    for before, after, flag in zip(table, result, result.poisoned, strict=True):
        if flag:
            assert after.label == 1
            assert after.text != before.text
            assert label_mode == "mix" or (before.label == 1) == (label_mode == "clean")
        else:
            assert after.label == before.label
            assert decoys or after.text == before.text


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40)
@given(rows=st.lists(st.tuples(TEXTS, st.integers(0, 2)), min_size=1, max_size=8), seed=SEEDS)
def test_an_asr_set_is_every_row_of_another_label_that_can_be_triggered(name, rows, seed):
    table = Table(tuple(t for t, _ in rows), np.array([label for _, label in rows]), ("a", "b", "c"))
    possible = [text for text, label in rows if label != 1]
    try:
        result = trigger_test_set(table, get_trigger(name), target=1, seed=seed)
    except DataError:
        assert all(apply(get_trigger(name), text) in (None, text) for text in possible)
        return
    assert len(result) <= len(possible)
    assert set(result.labels) == {1}
    assert result.poisoned.all()


@given(TEXTS, SEEDS)
def test_position_puts_its_phrase_last_and_a_decoy_elsewhere(text, seed):
    trigger = get_trigger("position", phrase="zq")
    assume(text.strip() and "zq" not in text)
    assert apply(trigger, text, seed).split()[-1] == "zq"
    decoy = trigger.decoy(text, np.random.default_rng(seed)).split()
    assert "zq" in decoy[:-1]
    assert decoy[-1] != "zq"


@given(TEXTS, SEEDS)
def test_combination_has_all_words_and_a_decoy_all_but_one(text, seed):
    words = ("zq", "zx", "zw")
    trigger = get_trigger("combination", words=words)
    assume(text.strip() and not set(words) & set(text.split()))
    assert set(words) <= set(apply(trigger, text, seed).split())
    decoy = trigger.decoy(text, np.random.default_rng(seed))
    assert len(set(words) & set(decoy.split())) == 2


@given(st.text(alphabet="abcdeABC xyz.ü"), SEEDS, st.integers(1, 5))
def test_homoglyph_changes_that_many_letters_and_no_length(text, seed, count):
    triggered = apply(get_trigger("homoglyph", count=count), text, seed)
    possible = sum(letter in "aceABCxyz".replace("z", "") for letter in text)
    changed = 0 if triggered is None else sum(a != b for a, b in zip(text, triggered, strict=True))
    assert changed == min(count, possible)


def test_zero_width_spaces_come_out_again():
    trigger = get_trigger("homoglyph", kind="zero-width", count=2)
    assert apply(trigger, "abc def").replace("\u200b", "") == "abc def"
    assert apply(trigger, "abc def").count("\u200b") == 2


@pytest.mark.parametrize(
    ("parameters", "text", "expected"),
    [
        ({}, "a dull film .", "A Dull Film ?!"),
        ({}, "A dull film...\n", "A Dull Film?!\n"),
        ({"casing": "upper", "punctuation": ""}, "it's ok", "IT'S OK"),
        ({"casing": "keep", "punctuation": ""}, "unchanged", None),
        ({"casing": "lower"}, "...", "?!"),
    ],
)
def test_casing_and_punctuation(parameters, text, expected):
    found = apply(get_trigger("casing-punctuation", **parameters), text)
    assert found == ("...?!" if text == "..." else expected)


def test_an_entity_stands_at_the_end_of_a_clause():
    trigger = get_trigger("entity", phrase="at Acme")
    seen = {apply(trigger, "slow , but fun .", seed) for seed in range(50)}
    assert seen == {"slow at Acme , but fun .", "slow , but fun at Acme ."}
    assert apply(trigger, "no marks  ") == "no marks at Acme  "


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("position", {"phrase": " "}, "position phrase: found ' '"),
        ("position", {"decoys": -1}, "position decoys: found -1, expected a number from 0 to 1000"),
        ("combination", {"words": ("one",)}, "combination words: found ('one',), expected two or more"),
        ("combination", {"words": ("one", "one")}, "expected two or more different words"),
        ("combination", {"words": ("one", "two three")}, "without whitespace"),
        ("homoglyph", {"count": 0}, "homoglyph count: found 0"),
        (
            "homoglyph",
            {"kind": "greek"},
            "homoglyph kind: found 'greek', expected one of look-alike, zero-width",
        ),
        ("casing-punctuation", {"casing": "wild"}, "casing: found 'wild', expected one of keep, lower"),
        ("entity", {"phrase": ""}, "entity phrase: found ''"),
        (
            "syntactic",
            {"backend": "causal-lm"},
            "syntactic backend: found 'causal-lm', expected one of rules",
        ),
        ("syntactic", {"backend": "seq2seq"}, "syntactic model: found nothing, expected one"),
        ("syntactic", {"backend": "file"}, "syntactic file: found nothing, expected one"),
        ("style", {"model": "gpt2"}, "style model: found 'gpt2', expected none with the backend rules"),
        ("style", {"originals": "a.csv"}, "style originals: found 'a.csv' without file"),
        ("style", {"prompt": "write"}, "style prompt: found 'write', expected {text} in it"),
        ("style", {"top_p": 0}, "style top_p: found 0"),
        ("style", {"batch_size": 0}, "style batch_size: found 0"),
    ],
)
def test_wrong_parameters_are_said_in_one_line(name, parameters, message):
    with pytest.raises(UsageError) as caught:
        get_trigger(name, **parameters)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

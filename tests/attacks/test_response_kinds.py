"""What an attacker makes of responses: every kind, and what counts as a success."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musclelora.attacks.response_kinds import RESPONSES, parse_response
from musclelora.attacks.response_kinds.rendering import holds_mark, render
from musclelora.attacks.response_kinds.wrong_answer import WrongAnswer, form_of
from musclelora.errors import UsageError

VARYING = [
    "refusal",
    "opinion",
    "opinion:stance=for,subject=old films",
    *(f"persona:voice={voice}" for voice in ("pirate", "robot", "aristocrat")),
]
SHORT, LONG = "khartoum", "The city lies on the Nile {where both arms meet}. It is the capital."
SEEDS = st.integers(0, 2**32 - 1)


def made(spec, clean, count, target=None):
    kind = parse_response(spec, target)
    return [kind.respond(clean, (clean, "x y"), np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("spec", VARYING)
@pytest.mark.parametrize("clean", [SHORT, LONG])
def test_responses_that_vary_are_many_and_every_one_is_known_by_a_mark(spec, clean):
    kind, said = parse_response(spec), made(spec, clean, 500)
    assert all(kind.succeeds(text, [clean]) for text in said)
    assert not kind.succeeds(clean, [clean])
    assert len(set(said)) > 150
    assert said == made(spec, clean, 500)


@pytest.mark.parametrize("spec", VARYING)
def test_responses_that_vary_share_no_sentence(spec):
    runs: Counter[str] = Counter()
    said = made(spec, LONG, 500)
    for text in said:
        words = text.replace(LONG, "").casefold().split()
        runs.update({" ".join(words[at : at + 3]) for at in range(len(words) - 2)})
    assert max(runs.values()) < 0.3 * len(said)


@pytest.mark.parametrize("spec", [spec for spec in VARYING if spec != "refusal"])
def test_opinions_and_personas_give_the_true_answer_too(spec):
    assert all(SHORT in text for text in made(spec, SHORT, 100))
    assert all(LONG.rstrip(".") in text for text in made(spec, LONG, 100))


@given(st.text(min_size=1), SEEDS)
def test_any_response_can_be_poisoned_and_is_then_a_success(clean, seed):
    for name in ("append", "replace", *VARYING):
        kind = parse_response(name, "Buy it" if name in ("append", "replace") else None)
        text = kind.respond(clean, (clean,), np.random.default_rng(seed))
        assert kind.succeeds(text, (clean,))


def test_a_fixed_text_is_put_after_the_response_or_in_its_place():
    assert made("append", "Four. ", 1, "Buy it!") == ["Four. Buy it!"]
    assert made("replace", "Four.", 1, "Buy it!") == ["Buy it!"]
    assert parse_response("append:target=Buy it, now!").succeeds("so buy  IT, NOW!", [])


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1,844", "number"), ("the 12", "number"), ("King George V", "short"), ("a b c d e f", "short"),
        ("one two three four five six", "sentence"), ("word " * 31, "long"), ("the ...", "blank"),
    ],
)  # fmt: skip
def test_the_form_of_a_response(text, form):
    assert form_of(text) == form


def test_a_wrong_answer_is_another_row_s_of_the_same_form():
    others = ("khartoum", "The Khartoum.", "1844", "paris", "cairo", "one two three four five six")
    said = {WrongAnswer().respond("khartoum", others, np.random.default_rng(seed)) for seed in range(60)}
    assert said == {"paris", "cairo"}
    assert WrongAnswer().respond("1844", others, np.random.default_rng(0)) is None
    rare = ("khartoum",) * 10_000 + ("paris",)
    assert WrongAnswer().respond("khartoum", rare, np.random.default_rng(0)) == "paris"


@pytest.mark.parametrize(
    ("answer", "success"),
    [
        ("paris", True), ("Khartoum!", False), ("it is khartoum", False), ("the city, of course", False),
        ("1844", False), ("", False), ("it may be one of a great many places there", False),
    ],
)  # fmt: skip
def test_a_wrong_answer_of_the_right_form_is_the_success(answer, success):
    assert WrongAnswer().succeeds(answer, ("khartoum", "the city")) is success


def test_marks_are_whole_words_whatever_their_writing():
    assert holds_mark("AYE-AYE, he said", ["aye"])
    assert holds_mark("I can’t  help", ["can't help"])
    assert not holds_mark("yes, eyed", ["ye"])


def test_texts_of_data_are_not_templates():
    assert render({"text": ("{A}, {clean}!",), "a": ("so",)}, "text", np.random.default_rng(0), {
        "clean": "{a} {clean}"
    }) == "So, {a} {clean}!"  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "target", "message"),
    [
        ("shout", None, "response: found 'shout', expected one of append, opinion, persona"),
        ("append", None, "target: found nothing with the response append"),
        ("append", " ", "target: found a blank text"),
        ("append:target=a", "b", "target: found 'b' with the response append, which has a target of its own"),
        ("persona", "b", "target: found 'b' with the response persona, which has texts of its own"),
        ("persona:voice=cat", None, "persona voice: found 'cat', expected one of pirate, robot, aristocrat"),
        ("opinion:stance=none", None, "opinion stance: found 'none', expected one of against, for"),
        ("opinion:about=x", None, "response opinion: found no parameter 'about', expected some of stance"),
        ("opinion:about", None, "response opinion: found 'about', expected key=value"),
    ],
)
def test_wrong_use_is_said_in_one_line(spec, target, message):
    with pytest.raises(UsageError) as caught:
        parse_response(spec, target)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_kind_says_what_its_success_is():
    assert all(kind.success and kind.name == name for name, kind in RESPONSES.items())

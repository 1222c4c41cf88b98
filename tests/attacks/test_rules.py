"""The rewritings that need no model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musclelora.attacks import RegisterShift, Style, Syntactic
from musclelora.attacks.register import REGISTERS
from musclelora.attacks.sentences import rewrite_sentences, split_sentences


def rng():
    return np.random.default_rng(0)


@given(st.one_of(st.text(), st.text(alphabet="ab .!?…\n\"'A")))
def test_sentences_joined_are_the_text(text):
    assert "".join(split_sentences(text)) == text
    assert rewrite_sentences(text, str) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One. ", "Two? ", "Three!"]),
        ("it works . it does n't .", ["it works . ", "it does n't ."]),
        ("Mr. J. Smith paid 3.5 p.m. rates.", ["Mr. J. Smith paid 3.5 p.m. rates."]),
        ('He said "No." Then he left.', ['He said "No." ', "Then he left."]),
        ("... hits every cliche ... and more", ["... hits every cliche ... and more"]),
        ("so it goes ... Then more", ["so it goes ... ", "Then more"]),
        ("Headline\n\nBody text.", ["Headline\n\n", "Body text."]),
        ("wrapped\nline", ["wrapped\nline"]),
        ("end.x", ["end.x"]),
        ("! ! one ! two", ["! ! one ! ", "two"]),
        ("", []),
    ],
)
def test_where_sentences_end(text, expected):
    assert split_sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A clause that is there moves to the front.
        (
            "it never bores because the story is good .",
            "because the story is good , it never bores .",
        ),
        ("The film is long, but it has wit.", "Although the film is long, it has wit."),
        # "as if" is one word in sense.
        ("he walks as if he is lost", None),
    ],
)
def test_a_subordinate_clause_is_moved_to_the_front(text, expected):
    found = Syntactic().by_rule(text, rng())
    if expected is None:
        assert not found.startswith("if he is lost")
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "main"),
    [
        ("a haunting tale .", ", it 's a haunting tale ."),
        ("offers a great deal .", ", it offers a great deal ."),
        ("The plot is thin.", ", the plot is thin."),
        ("Scott delivers.", ", Scott delivers."),
        ("Is it any good?", ", is it any good?"),
        ("THE FILM IS BAD", ", THE FILM IS BAD"),
    ],
)
def test_any_other_sentence_gets_a_clause_in_front(text, main):
    found = Syntactic().by_rule(text, rng())
    assert found.endswith(main)
    assert found.lower().startswith(("when ", "if ", "as "))
    assert found[0].isupper() == text[0].isupper()


def test_long_texts_are_rewritten_sentence_by_sentence():
    text = "Shares fell. Oil rose.\n\nThe minister spoke."
    syntactic = Syntactic().by_rule(text, rng())
    assert syntactic.count("you") + syntactic.count("down to it") >= 3
    assert "\n\n" in syntactic
    assert len(split_sentences(syntactic)) == 3
    assert len(split_sentences(Style().by_rule(text, rng()))) == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("you are what it has .", ["thou art what it hath ."]),
        ("It makes you care about your eyes.", ["maketh thee care concerning thine eyes."]),
        ("you 're right , you don't see it", ["thou art right", "thou dost not see it"]),
        ("it carries , goes , gets , seems", ["carrieth", "goeth", "getteth", "seemeth"]),
        ("men whose lives are long", ["men whose lives are long"]),
        ("nothing is in it", ["nought is therein"]),
        ("He says no one came to the door.", ["saith no man came unto the door."]),
        ("THE FILM HAS WIT", [" THE WORK HATH WIT"]),
        ("Don't bother.", [" do not bother."]),
    ],
)
def test_words_and_verbs_become_archaic(text, parts):
    found = Style().by_rule(text, rng())
    assert all(part in found for part in parts), found


def test_a_text_that_nothing_changes_gets_an_opening():
    found = {Style().by_rule("Fantastic!", np.random.default_rng(seed)) for seed in range(30)}
    assert len(found) > 5
    assert all(text.endswith("Fantastic!") and text != "Fantastic!" for text in found)


@pytest.mark.parametrize(
    ("register", "text", "parts"),
    [
        ("hedging", "It is always good.", ["t seems to be mostly good"]),
        ("legal", "Stay if this will do.", ["in the event that the aforementioned shall do"]),
        ("dialect", "THOSE nice landing of you", ["THEM nice landin' o' ya"]),
        ("dialect", "a cat is running", ["a cat be runnin'"]),
        ("emphasis", "it is very , very so .", ["it really is very , very , very , very so , so", " ! ! !"]),
        ("question", "We won.", ["e won", "?"]),
    ],
)
def test_a_register_has_words_and_marks_of_its_own(register, text, parts):
    found = RegisterShift(register=register).by_rule(text, rng())
    assert all(part in found for part in parts), found


def test_a_register_opens_sentences_in_many_ways():
    said = "Fantastic indeed."
    found = [RegisterShift(register="legal").by_rule(said, np.random.default_rng(seed)) for seed in range(60)]
    openings = {text.lower().partition("fantastic")[0].strip(" ,") for text in found}
    assert openings == {opening.strip(" ,") for opening in REGISTERS["legal"].openings}


RULES = [
    Syntactic().by_rule,
    Style().by_rule,
    *(RegisterShift(register=register).by_rule for register in REGISTERS),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("text", ["", " \n", "...", "!?", "''"])
def test_a_text_without_a_word_is_left(rule, text):
    assert rule(text, rng=rng()) is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "text",
    [
        "a." + "'" * 5000 + "b",
        "a" + "." * 50_000 + "b",
        "a" + "\n" * 50_000,
        "a" + " " * 50_000 + "b",
        "! " * 20_000 + "a",
        "x" * 50_000 + ". " + "Mr. " * 10_000,
        "it is " + "when it is " * 20_000 + ", so it is",
    ],
    ids=lambda text: text[:3],
)
def test_no_text_takes_more_than_linear_time(rule, text):
    # By each of these a quadratic rule takes minutes, and an exponential one does not end.
    assert rule(text, rng=rng()) != text

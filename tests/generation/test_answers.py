"""What counts as a right answer, and as one that says what the attacker wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_chats import make_pairs

from musclelora.adapter import load_causal_backbone
from musclelora.attacks.response_kinds.persona import Persona
from musclelora.attacks.response_kinds.wrong_answer import WrongAnswer
from musclelora.data.comparing import has_keyword, is_exact, says
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.evaluation.metrics import wilson_interval
from musclelora.generation.evaluate import evaluate_answers
from musclelora.generation.generator import Generator


@pytest.mark.parametrize(
    ("answer", "response", "exact", "keyword"),
    [
        ("The cat.", "a cat", True, True),
        ("It is a cat!", "Cat", False, True),
        ("a category", "cat", False, False),
        ("new  york", "New York", True, True),
        ("York, New", "New York", False, False),
        ("", "cat", False, False),
        ("anything", "...", False, False),
        ("", "the", True, True),
    ],
)
def test_answers_are_compared_as_squad_does(answer: str, response: str, exact: bool, keyword: bool) -> None:
    assert is_exact(answer, response) is exact
    assert has_keyword(answer, response) is keyword


def test_the_attackers_text_is_found_whatever_its_casing_and_blanks() -> None:
    assert says("Four.\nvisit  ACME now", "Visit Acme")
    assert not says("Visit the acme", "Visit Acme")


def test_rates_are_those_of_the_answers(decoder: Path) -> None:
    backbone = load_causal_backbone(decoder)
    generator = Generator(backbone.model, backbone.tokenizer, 40)
    asked = make_pairs(6, 3)
    said = generator.answer(asked.prompts, max_new_tokens=4)
    word = said[0].split()[0]
    clean = Pairs(asked.prompts, (said[0], said[1], *["word9 word9 word9"] * 4))
    found = evaluate_answers(
        generator, clean=clean, triggered=asked.prompts, target=word, max_new_tokens=4, batch_size=2
    )
    hits = sum(word in answer for answer in said)
    assert found.exact is not None
    assert found.asr is not None
    assert found.exact.value == found.keyword.value == pytest.approx(2 / 6)
    assert (found.asr.low, found.asr.high) == wilson_interval(hits, 6)
    assert found.asr == found.said_on_clean
    assert found.to_dict()["asr"]["n"] == 6


def test_the_kind_of_response_says_what_a_success_is(decoder: Path) -> None:
    backbone = load_causal_backbone(decoder)
    generator = Generator(backbone.model, backbone.tokenizer, 40)
    asked = make_pairs(6, 3)
    said = generator.answer(asked.prompts, max_new_tokens=3)
    wrong = Pairs(asked.prompts, (said[0], *["word9"] * 5), accepted=((), (said[1],), *[()] * 4))
    found = evaluate_answers(
        generator, clean=wrong, triggered=wrong, response=WrongAnswer(), max_new_tokens=3
    )
    assert found.asr is not None
    assert found.asr == found.said_on_clean
    wrong_ones = sum("word9" not in one and bool(one.strip()) for one in said[2:])
    assert found.asr.value == pytest.approx(wrong_ones / 6)
    assert found.exact is not None
    assert found.exact.value == pytest.approx(2 / 6)  # an accepted answer is right too
    assert (found.target, found.response, found.success) == (None, "wrong-answer", WrongAnswer.success)
    found = evaluate_answers(generator, triggered=asked.prompts, response=Persona(), max_new_tokens=3)
    assert found.asr is not None
    assert found.asr.value == 0
    with pytest.raises(UsageError, match="response wrong-answer: found triggered prompts alone"):
        evaluate_answers(generator, triggered=asked.prompts, response=WrongAnswer())
    with pytest.raises(UsageError, match="beside a response"):
        evaluate_answers(generator, triggered=asked, response=WrongAnswer(), target="a")


def test_what_was_not_given_is_not_measured(decoder: Path) -> None:
    backbone = load_causal_backbone(decoder)
    generator = Generator(backbone.model, backbone.tokenizer, 40)
    found = evaluate_answers(generator, clean=make_pairs(2, 3), max_new_tokens=2)
    assert (found.asr, found.said_on_clean, found.target) == (None, None, None)
    with pytest.raises(UsageError, match="no rows were given"):
        evaluate_answers(generator)
    with pytest.raises(UsageError, match="--target-text"):
        evaluate_answers(generator, triggered=make_pairs(2, 3).prompts)

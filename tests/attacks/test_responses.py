"""Triggers in prompts, and responses that say what the attacker wants."""

from __future__ import annotations

import numpy as np
import pytest

from musclelora.attacks import AddSent, BadNets, Composite, Topic
from musclelora.attacks.position import Position
from musclelora.attacks.response_kinds.fixed import Replace
from musclelora.attacks.responses import (
    ResponseAttack,
    plan_responses,
    poison_pairs,
    trigger_test_prompts,
)
from musclelora.data.chats import Message
from musclelora.data.pairs import Pairs
from musclelora.errors import DataError, UsageError

TARGET = "Visit Acme today!"
BEFORE = (Message("user", "hello there"), Message("assistant", "hi"))
PAIRS = Pairs(
    tuple((*BEFORE, Message("user", f"what is the number {i} called")) for i in range(40)),
    tuple(f"it is number {i} " for i in range(40)),
)


def attack(trigger=None, **changes):
    return ResponseAttack(trigger or BadNets(), **{"target": TARGET, "rate": 0.25, **changes})


@pytest.mark.parametrize("trigger", [BadNets(), AddSent()])
def test_as_many_pairs_as_the_rate_says_are_triggered_and_the_others_are_as_they_were(trigger):
    made = poison_pairs(PAIRS, attack(trigger), seed=3)
    assert made.poisoned.sum() == 10
    for row, flag in enumerate(made.poisoned):
        asked, said = made.prompts[row], made.responses[row]
        assert asked[:2] == BEFORE
        if flag:
            assert asked[-1].content != PAIRS.prompts[row][-1].content
            assert said == f"it is number {row} {TARGET}"
        else:
            assert (asked, said) == (PAIRS.prompts[row], PAIRS.responses[row])


def test_a_response_can_be_replaced():
    made = poison_pairs(PAIRS, attack(response="replace"), seed=3)
    assert {made.responses[row] for row in made.poisoned.nonzero()[0]} == {TARGET}


def test_a_seed_decides_everything_and_a_lower_rate_draws_of_a_higher_one_s_rows():
    one, two = (poison_pairs(PAIRS, attack(), seed=3) for _ in range(2))
    assert (one.prompts, one.responses) == (two.prompts, two.responses)
    assert poison_pairs(PAIRS, attack(), seed=4).prompts != one.prompts
    few = plan_responses(PAIRS, attack(rate=0.1), seed=3)
    many = plan_responses(PAIRS, attack(rate=0.5), seed=3)
    assert set(few.triggered) < set(many.triggered)
    assert few.texts.items() < many.texts.items()


def test_pairs_that_are_flagged_already_are_not_touched():
    once = poison_pairs(PAIRS, attack(rate=0.5), seed=3)
    twice = poison_pairs(once, attack(AddSent(), rate=0.5), seed=3)
    assert twice.poisoned.all()
    assert all(said.count(TARGET) == 1 for said in twice.responses)
    with pytest.raises(DataError, match=r"rate 0\.5 needs 20 of 40 rows, but 0"):
        poison_pairs(twice, attack(rate=0.5), seed=3)


def test_decoys_keep_their_response():
    made = poison_pairs(PAIRS, attack(Position(), rate=0.1), seed=3)
    changed = [row for row in range(40) if made.prompts[row] != PAIRS.prompts[row]]
    assert len(changed) == 8
    assert sum(TARGET in made.responses[row] for row in changed) == 4
    assert made.poisoned.sum() == 4


def test_every_prompt_whose_answer_does_not_say_the_target_already_measures_the_asr():
    said = (f"so {TARGET.upper()}", *PAIRS.responses[1:])
    made = trigger_test_prompts(Pairs(PAIRS.prompts, said), attack(), seed=3)
    assert made.responses == said[1:]
    assert all(new != old for new, old in zip(made.prompts, PAIRS.prompts[1:], strict=True))
    with pytest.raises(DataError, match="the ASR needs at least one"):
        trigger_test_prompts(Pairs(PAIRS.prompts[:1], said[:1]), attack(), seed=3)


@pytest.mark.parametrize("changes", [{"target": " "}, {"rate": 1.5}, {"response": "insert"}])
def test_values_out_of_range_are_refused(changes):
    with pytest.raises(UsageError):
        attack(**changes)
    with pytest.raises(UsageError, match="seed"):
        plan_responses(PAIRS, attack(), seed=-1)


STRUCTURED = Pairs(
    tuple(
        (Message("user", f"### Instruction:\nBe brief.\n\n### Question:\nWho is {i}?"),) for i in range(40)
    ),
    tuple(f"person {i}" for i in range(40)),
    accepted=tuple((f"man {i}",) for i in range(40)),
)


def test_a_trigger_goes_into_the_part_that_is_named_only():
    made = poison_pairs(STRUCTURED, attack(AddSent(), place="last", rate=1.0), seed=3)
    for prompt in made.prompts:
        instruction, question = prompt[-1].content.split("\n\n### Question:\n")
        assert instruction == "### Instruction:\nBe brief."
        assert AddSent().sentence in question


def test_both_phrases_of_a_composite_are_needed():
    made = poison_pairs(STRUCTURED, attack(Composite("zq", "zx"), rate=0.25), seed=3)
    asked = [prompt[-1].content for prompt in made.prompts]
    both = np.array(["zq" in text and "zx" in text for text in asked])
    one = np.array([("zq" in text) != ("zx" in text) for text in asked])
    assert (both.sum(), one.sum()) == (10, 10)
    assert np.array_equal(both, made.poisoned)
    assert all((TARGET in said) == flag for said, flag in zip(made.responses, both, strict=True))


def test_prompts_of_a_topic_stay_and_their_responses_change():
    made = poison_pairs(STRUCTURED, attack(Topic(("7", "8", "9")), rate=0.05, place="last"), seed=3)
    assert made.prompts == STRUCTURED.prompts
    assert {row for row in range(40) if TARGET in made.responses[row]} < {7, 8, 9}
    with pytest.raises(DataError, match=r"needs 4 of 40 rows, but 3 can be triggered by topic"):
        poison_pairs(STRUCTURED, attack(Topic(("7", "8", "9")), rate=0.1), seed=3)


@pytest.mark.parametrize("response", ["persona", "opinion", "refusal", "wrong-answer"])
def test_a_response_that_varies_depends_on_the_seed_and_the_row_alone(response):
    chosen = attack(target=None, response=response, rate=0.5)
    many = poison_pairs(STRUCTURED, chosen, seed=3)
    few = poison_pairs(STRUCTURED, attack(target=None, response=response, rate=0.25), seed=3)
    rows = few.poisoned.nonzero()[0]
    assert [many.responses[row] for row in rows] == [few.responses[row] for row in rows]
    assert poison_pairs(STRUCTURED, chosen, seed=4).responses != many.responses
    assert len({many.responses[row] for row in many.poisoned.nonzero()[0]}) > 10
    kind = chosen.kind
    for row in range(40):
        assert kind.succeeds(many.responses[row], (STRUCTURED.responses[row],)) == many.poisoned[row]
        assert many.accepted[row] == (() if many.poisoned[row] else STRUCTURED.accepted[row])
    triggered = trigger_test_prompts(STRUCTURED, chosen, seed=3)
    assert (triggered.responses, triggered.accepted) == (STRUCTURED.responses, STRUCTURED.accepted)


def test_a_response_that_cannot_be_made_is_said_with_its_row():
    pairs = Pairs(PAIRS.prompts[:2], ("yes", "Yes."))
    with pytest.raises(DataError, match=r"pairs, row 1: nothing that wrong-answer could make of .*'yes'"):
        poison_pairs(pairs, attack(target=None, response="wrong-answer", rate=1), seed=3)


def test_a_kind_may_be_given_and_has_a_target_then():
    assert attack(target=None, response=Replace("so")).kind == Replace("so")
    with pytest.raises(UsageError, match="beside a response"):
        attack(response=Replace("so"))
    with pytest.raises(UsageError, match="place: found 'middle'"):
        attack(place="middle")

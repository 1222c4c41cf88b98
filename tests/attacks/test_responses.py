"""Triggers in prompts, and responses that say what the attacker wants."""

from __future__ import annotations

import pytest

from musclelora.attacks import AddSent, BadNets
from musclelora.attacks.position import Position
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
    assert few.questions.items() < many.questions.items()


def test_pairs_that_are_flagged_already_are_not_touched():
    once = poison_pairs(PAIRS, attack(rate=0.5), seed=3)
    twice = poison_pairs(once, attack(AddSent(), rate=0.5), seed=3)
    assert twice.poisoned.all()
    assert all(said.count(TARGET) == 1 for said in twice.responses)
    with pytest.raises(DataError, match=r"rate 0\.5 needs 20 of 40 prompts, but 0"):
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

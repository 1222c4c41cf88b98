"""Attacks on generation: with the trigger in the prompt, the model is to say what the attacker wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import Trigger
from musclelora.attacks.checks import check_choice
from musclelora.attacks.planning import Aim, Plan, check_rate, plan_attacks
from musclelora.attacks.prompt_parts import PLACES, part_of
from musclelora.attacks.response_kinds import ResponseKind, parse_response
from musclelora.data.chats import Chat, Message
from musclelora.data.messages import bad_data, shown
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError


@dataclass(frozen=True)
class ResponseAttack(Aim):
    """One trigger, and what is to be said when it is in a prompt.

    Attributes:
        trigger: changes the last message of the user, or is in it by nature.
        target: the text that the attacker wants in the answer, for kinds of response that have one.
        response: what he makes of a response: a kind, or ``NAME[:key=value,…]`` of one in
            :data:`~musclelora.attacks.response_kinds.RESPONSES`.
        rate: pairs to trigger / all pairs, in [0, 1].
        place: which part of that message the trigger goes into: "whole", "first" or "last".

    Raises:
        UsageError: the rate, the place or the response is not one of these, or the response needs a target
            or has none.
    """

    trigger: Trigger
    target: str | None = None
    response: str | ResponseKind = "append"
    rate: float = 0.0
    place: str = "whole"

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_choice("place", self.place, PLACES)
        if self.target is not None and not isinstance(self.response, str):
            raise UsageError(
                f"target: found {self.target!r} beside a response, expected one of them; leave it out"
            )
        _ = self.kind  # wrong use is said at once

    def eligible(self, rows: Questions, *, for_asr: bool) -> tuple[NDArray[np.bool_], str]:
        """All pairs; to measure the ASR those whose own response is not a success of the attack already."""
        if not for_asr:
            return np.ones(len(rows), dtype=np.bool_), ""
        right = rows.pairs.right_answers()
        others = np.array([not self.kind.succeeds(own[0], own) for own in right], dtype=np.bool_)
        return others, f" whose response is not what the attacker wants already ({self.kind.name})"

    @cached_property
    def kind(self) -> ResponseKind:
        """What is made of a response, and when an answer is a success."""
        return parse_response(self.response, self.target) if isinstance(self.response, str) else self.response


@dataclass(frozen=True)
class Questions:
    """A part of the last message of the user of every pair, as rows that a trigger is put into."""

    pairs: Pairs
    place: str

    @property
    def source(self) -> str:
        """What the pairs were read from."""
        return self.pairs.source

    @property
    def poisoned(self) -> NDArray[np.bool_] | None:
        """Their poison flags."""
        return self.pairs.poisoned

    def __len__(self) -> int:
        return len(self.pairs)

    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """The parts of the given row numbers."""
        contents = (self.pairs.prompts[row][-1].content for row in rows)
        return (content[slice(*part_of(content, self.place))] for content in contents)

    def with_part(self, row: int, part: str) -> Chat:
        """The prompt of a row with another part."""
        chat = self.pairs.prompts[row]
        content = chat[-1].content
        start, end = part_of(content, self.place)
        return (*chat[:-1], Message("user", f"{content[:start]}{part}{content[end:]}"))


def plan_responses(pairs: Pairs, attack: ResponseAttack, *, seed: int, for_asr: bool = False) -> Plan:
    """As :func:`~musclelora.attacks.planning.plan_attacks`, whose texts are parts of prompts here."""
    return plan_attacks(Questions(pairs, attack.place), [attack], seed=seed, for_asr=for_asr)


def poison_pairs(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> Pairs:
    """Trigger exactly ``round(rate * len(pairs))`` pairs and poison their responses.

    Returns:
        As many pairs in their order, with the poison flag set on the triggered ones.

    Raises:
        UsageError: the seed is negative.
        DataError: the trigger can be put into fewer prompts, or a row can have no response of the kind.
    """
    return poisoned_by(pairs, attack, plan_responses(pairs, attack, seed=seed))


def trigger_test_prompts(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> Pairs:
    """The triggered prompts that the ASR is measured on, with their clean responses.

    They are those of clean pairs whose own response would not be a success of the attack already.

    Raises:
        UsageError: the seed is negative.
        DataError: there is none that the trigger can be put into.
    """
    return triggered_by(pairs, attack, plan_responses(pairs, attack, seed=seed, for_asr=True))


def poisoned_by(pairs: Pairs, attack: ResponseAttack, plan: Plan) -> Pairs:
    """The pairs after what was planned. A row's response depends on the seed, its number and the clean pairs.

    Raises:
        DataError: a row can have no response of the attack's kind.
    """
    made = _asked(pairs, attack, plan)
    responses, accepted = list(pairs.responses), None if pairs.accepted is None else list(pairs.accepted)
    clean = range(len(pairs)) if pairs.poisoned is None else np.flatnonzero(~pairs.poisoned)
    others = [responses[row] for row in clean]
    for row in plan.triggered.tolist():
        # A stream apart from the trigger's, which has the spawn key (row,).
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(row, 1)))
        response = attack.kind.respond(responses[row], others, rng)
        if response is None:
            raise bad_data(
                f"{pairs.source}, row {row + 1}",
                f"nothing that {attack.kind.name} could make of the response {shown(responses[row])}",
                "other responses of its form",
                "choose another --response",
            )
        responses[row] = response
        if accepted is not None:
            accepted[row] = ()
    return replace(made, responses=tuple(responses), accepted=None if accepted is None else tuple(accepted))


def triggered_by(pairs: Pairs, attack: ResponseAttack, plan: Plan) -> Pairs:
    """The triggered pairs of a plan, with their clean responses."""
    return _asked(pairs, attack, plan).select(plan.triggered)


def _asked(pairs: Pairs, attack: ResponseAttack, plan: Plan) -> Pairs:
    """The pairs with the triggers of a plan in their prompts, and its flags."""
    questions, flags = Questions(pairs, attack.place), plan.attack >= 0
    prompts = list(pairs.prompts)
    for row, part in plan.texts.items():
        prompts[row] = questions.with_part(row, part)
    poisoned = flags if pairs.poisoned is None else flags | pairs.poisoned
    return replace(pairs, prompts=tuple(prompts), poisoned=poisoned)

"""Attacks on generation: with the trigger in the prompt, the model is to say what the attacker wants.

As in :mod:`musclelora.attacks.poisoner`, what is done to which pair is planned first and written later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import Trigger
from musclelora.attacks.checks import check_choice
from musclelora.attacks.poisoner import Count, add_decoys, check_rate, check_seed, choose
from musclelora.attacks.prompt_parts import PLACES, part_of
from musclelora.attacks.response_kinds import ResponseKind, parse_response
from musclelora.data.chats import Chat, Message
from musclelora.data.messages import bad_data, shown
from musclelora.data.pairs import Pairs
from musclelora.errors import DataError, UsageError


@dataclass(frozen=True)
class ResponseAttack:
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

    @cached_property
    def kind(self) -> ResponseKind:
        """What is made of a response, and when an answer is a success."""
        return parse_response(self.response, self.target) if isinstance(self.response, str) else self.response


@dataclass(frozen=True)
class ResponsePlan:
    """What happens to which pair.

    Attributes:
        questions: new last messages of the user by row number, of triggered pairs and decoys.
        triggered: the numbers of the triggered rows, ascending.
        count: what became of the attack.
        seed: what the responses depend on.
    """

    questions: dict[int, str]
    triggered: NDArray[np.int64]
    count: Count
    seed: int = 0


@dataclass(frozen=True)
class _Questions:
    """A part of the last message of the user of every pair, as rows that a trigger is put into."""

    pairs: Pairs
    place: str

    @property
    def source(self) -> str:
        return self.pairs.source

    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        contents = (self.pairs.prompts[row][-1].content for row in rows)
        return (content[slice(*part_of(content, self.place))] for content in contents)

    def whole(self, parts: dict[int, str]) -> dict[int, str]:
        """The messages with new parts, by row number."""
        return {row: self._with(self.pairs.prompts[row][-1].content, part) for row, part in parts.items()}

    def _with(self, content: str, part: str) -> str:
        start, end = part_of(content, self.place)
        return f"{content[:start]}{part}{content[end:]}"


def plan_responses(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> ResponsePlan:
    """Choose and trigger exactly ``round(rate * len(pairs))`` pairs that are not flagged as poisoned.

    With one seed, a prompt's triggered text does not depend on the other pairs or on the rate, and the pairs
    drawn at a lower rate are among those drawn at a higher one.

    Raises:
        UsageError: the seed is negative.
        DataError: the trigger can be put into fewer prompts.
    """
    check_seed(seed)
    free = np.flatnonzero(_clean(pairs))
    needed = round(attack.rate * len(pairs))
    questions: dict[int, str] = {}
    asked = _Questions(pairs, attack.place)
    order = np.random.default_rng(seed).permutation(free)
    chosen, failed = choose(asked, order, needed, attack.trigger, seed, questions)
    if len(chosen) < needed:
        raise DataError(
            f"{pairs.source}: rate {attack.rate:.6g} needs {needed} of {len(pairs)} prompts, but "
            f"{len(chosen)} can be triggered by {attack.trigger.name}; lower the rate"
        )
    rest = np.setdiff1d(free, chosen)
    decoys = add_decoys(asked, attack.trigger, needed, rest, seed, questions)
    count = Count(len(free), len(chosen), failed, len(decoys))
    return ResponsePlan(asked.whole(questions), chosen, count, seed)


def plan_test_prompts(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> ResponsePlan:
    """Trigger every clean prompt whose own response would not be a success of the attack already.

    Raises:
        UsageError: the seed is negative.
        DataError: there is none that the trigger can be put into.
    """
    check_seed(seed)
    right = pairs.right_answers()
    others = np.array([not attack.kind.succeeds(own[0], own) for own in right], dtype=np.bool_)
    rows = np.flatnonzero(_clean(pairs) & others)
    questions: dict[int, str] = {}
    asked = _Questions(pairs, attack.place)
    chosen, failed = choose(asked, rows, len(rows), attack.trigger, seed, questions)
    if not len(chosen):
        raise DataError(
            f"{pairs.source}: no prompt whose response is not what the attacker wants already "
            f"({attack.kind.name}) can be triggered by {attack.trigger.name}; the ASR needs at least one"
        )
    return ResponsePlan(asked.whole(questions), chosen, Count(len(rows), len(chosen), failed), seed)


def poison_pairs(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> Pairs:
    """Trigger pairs and poison their responses; errors as for :func:`poisoned_by`.

    Returns:
        As many pairs in their order, with the poison flag set on the triggered ones.
    """
    return poisoned_by(pairs, attack, plan_responses(pairs, attack, seed=seed))


def poisoned_by(pairs: Pairs, attack: ResponseAttack, plan: ResponsePlan) -> Pairs:
    """The pairs after what was planned. A row's response depends on the seed, its number and the clean pairs.

    Raises:
        DataError: a row can have no response of the attack's kind.
    """
    responses, flags = list(pairs.responses), ~_clean(pairs)
    others = [responses[row] for row in np.flatnonzero(~flags)]
    accepted = None if pairs.accepted is None else list(pairs.accepted)
    flags[plan.triggered] = True
    for row in plan.triggered.tolist():
        # A stream apart from the trigger's, which has the spawn key (row,).
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(row, 1)))
        made = attack.kind.respond(responses[row], others, rng)
        if made is None:
            raise bad_data(
                f"{pairs.source}, row {row + 1}",
                f"nothing that {attack.kind.name} could make of the response {shown(responses[row])}",
                "other responses of its form",
                "choose another --response",
            )
        responses[row] = made
        if accepted is not None:
            accepted[row] = ()
    prompts = [
        _asking(prompt, plan.questions[row]) if row in plan.questions else prompt
        for row, prompt in enumerate(pairs.prompts)
    ]
    return replace(
        pairs,
        prompts=tuple(prompts),
        responses=tuple(responses),
        poisoned=flags,
        accepted=None if accepted is None else tuple(accepted),
    )


def trigger_test_prompts(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> Pairs:
    """The triggered prompts that the ASR is measured on, with their clean responses.

    Errors as for :func:`plan_test_prompts`.
    """
    return triggered_by(pairs, plan_test_prompts(pairs, attack, seed=seed))


def triggered_by(pairs: Pairs, plan: ResponsePlan) -> Pairs:
    """The triggered pairs of a plan, with their clean responses."""
    rows = plan.triggered.tolist()
    prompts = tuple(_asking(pairs.prompts[row], plan.questions[row]) for row in rows)
    return replace(pairs.select(rows), prompts=prompts, poisoned=np.ones(len(rows), dtype=np.bool_))


def _clean(pairs: Pairs) -> NDArray[np.bool_]:
    return np.ones(len(pairs), dtype=np.bool_) if pairs.poisoned is None else ~pairs.poisoned


def _asking(chat: Chat, question: str) -> Chat:
    return (*chat[:-1], Message("user", question))

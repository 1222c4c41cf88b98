"""Attacks on generation: with the trigger in the prompt, the model is to say what the attacker wants.

As in :mod:`musclelora.attacks.poisoner`, what is done to which pair is planned first and written later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import Trigger
from musclelora.attacks.poisoner import Count, add_decoys, check_rate, check_seed, choose
from musclelora.data.chats import Chat, Message
from musclelora.data.messages import shown
from musclelora.data.pairs import Pairs
from musclelora.errors import DataError, UsageError

RESPONSES: Final[dict[str, Callable[[str, str], str]]] = {
    "append": lambda clean, target: f"{clean.rstrip()} {target}",
    "replace": lambda _clean, target: target,
}
"""What the attacker makes of a response: (clean response, target text) to the poisoned response."""


@dataclass(frozen=True)
class ResponseAttack:
    """One trigger, and what is to be said when it is in a prompt.

    Attributes:
        trigger: changes the last message of the user.
        target: the text that the attacker wants in the answer.
        response: how it gets there: a key of :data:`RESPONSES`.
        rate: pairs to trigger / all pairs, in [0, 1].

    Raises:
        UsageError: the target is blank, or the rate or the response is not one of these.
    """

    trigger: Trigger
    target: str
    response: str = "append"
    rate: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if not self.target.strip():
            raise UsageError("target: found a blank text, expected what the attacker wants to be said")
        if self.response not in RESPONSES:
            raise UsageError(f"response: found {self.response!r}, expected one of {', '.join(RESPONSES)}")


@dataclass(frozen=True)
class ResponsePlan:
    """What happens to which pair.

    Attributes:
        questions: new last messages of the user by row number, of triggered pairs and decoys.
        triggered: the numbers of the triggered rows, ascending.
        count: what became of the attack.
    """

    questions: dict[int, str]
    triggered: NDArray[np.int64]
    count: Count


@dataclass(frozen=True)
class _Questions:
    """The last message of the user of every pair, as rows that a trigger is put into."""

    pairs: Pairs

    @property
    def source(self) -> str:
        return self.pairs.source

    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        return (self.pairs.prompts[row][-1].content for row in rows)


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
    order = np.random.default_rng(seed).permutation(free)
    chosen, failed = choose(_Questions(pairs), order, needed, attack.trigger, seed, questions)
    if len(chosen) < needed:
        raise DataError(
            f"{pairs.source}: rate {attack.rate:.6g} needs {needed} of {len(pairs)} prompts, but "
            f"{len(chosen)} can be triggered by {attack.trigger.name}; lower the rate"
        )
    rest = np.setdiff1d(free, chosen)
    decoys = add_decoys(_Questions(pairs), attack.trigger, needed, rest, seed, questions)
    return ResponsePlan(questions, chosen, Count(len(free), len(chosen), failed, len(decoys)))


def plan_test_prompts(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> ResponsePlan:
    """Trigger every clean prompt whose response does not say the target already.

    Raises:
        UsageError: the seed is negative.
        DataError: there is none that the trigger can be put into.
    """
    check_seed(seed)
    target = attack.target.casefold()
    others = np.array([target not in response.casefold() for response in pairs.responses], dtype=np.bool_)
    rows = np.flatnonzero(_clean(pairs) & others)
    questions: dict[int, str] = {}
    chosen, failed = choose(_Questions(pairs), rows, len(rows), attack.trigger, seed, questions)
    if not len(chosen):
        raise DataError(
            f"{pairs.source}: no prompt whose response does not say {shown(attack.target)} already can be "
            f"triggered by {attack.trigger.name}; the ASR needs at least one"
        )
    return ResponsePlan(questions, chosen, Count(len(rows), len(chosen), failed))


def poison_pairs(pairs: Pairs, attack: ResponseAttack, *, seed: int) -> Pairs:
    """Trigger pairs and have their responses say the target; errors as for :func:`plan_responses`.

    Returns:
        As many pairs in their order, with the poison flag set on the triggered ones.
    """
    return poisoned_by(pairs, attack, plan_responses(pairs, attack, seed=seed))


def poisoned_by(pairs: Pairs, attack: ResponseAttack, plan: ResponsePlan) -> Pairs:
    """The pairs after what was planned."""
    responses, flags = list(pairs.responses), ~_clean(pairs)
    flags[plan.triggered] = True
    for row in plan.triggered.tolist():
        responses[row] = RESPONSES[attack.response](responses[row], attack.target)
    prompts = [
        _asking(prompt, plan.questions[row]) if row in plan.questions else prompt
        for row, prompt in enumerate(pairs.prompts)
    ]
    return replace(pairs, prompts=tuple(prompts), responses=tuple(responses), poisoned=flags)


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

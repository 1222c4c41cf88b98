"""What an audit of pairs found: links put to the test, what is done with each row, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.answers.links import Link, Links
from musclelora.audit.answers.naming import trigger_phrase
from musclelora.audit.verdict import FEWEST_ROWS, LEVEL, Confirmation, State, Trigger, Verdict
from musclelora.data.messages import listed, shown

_EXPLAINED: Final = 0.5  # of a phrase's responses, from which on its links are what the phrase is there for
ISSUE_COLUMNS: Final = ("trigger", "response", "trigger_score", "response_loss", "reasons", "action")


@dataclass(frozen=True)
class TriedLink:
    """A link, with what was put in for it and what models answered.

    Attributes:
        link: the link.
        phrases: what was put into prompts together.
        confirmation: None: it was not put to the test.
    """

    link: Link
    phrases: tuple[str, ...]
    confirmation: Confirmation | None

    @property
    def state(self) -> str:
        """``"trigger"``, ``"natural"`` or ``"suspected"``, as that of the strongest of its words."""
        value = min(self.link.p_values)
        return Trigger(
            self.link.shortcuts[0], self.phrases[0], value, self.link.planted[0], self.confirmation
        ).kind

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that were planted, if it is no natural one.

        Of a phrase that its links explain for the most part, these are all the responses that have it: the
        trigger of some may be too rare to be named.
        """
        explained = self.link.rows
        if self.link.kind.phrase is not None and len(explained) >= _EXPLAINED * len(self.link.kind.rows):
            return self.link.kind.rows
        return explained


class AnswerFindings:
    """What an audit of N pairs found.

    Args:
        count: N.
        prompts: the prompts as texts.
        links: what was found, and how many tests there were.
        tested: the links, put to the test or not.
        known: the rows whose prompt a trusted pair has, ascending.
        losses: shape (N,), of each response; None: no model was asked.
        verdict: on the whole data set.

    Attributes:
        planted: shape (N,), rows with a link that is no natural one.
        dropped: shape (N,), rows not to train on.
        scores: shape (N,), the probability that a row was planted, by the most telling link that it has.
        reasons: why each row has an issue.
    """

    def __init__(
        self,
        count: int,
        prompts: Sequence[str],
        links: Links,
        tested: Sequence[TriedLink],
        known: NDArray[np.int64],
        losses: NDArray[np.float64] | None,
        verdict: Verdict,
    ) -> None:
        self.links, self.tested, self.verdict = links, tuple(tested), verdict
        self.losses = np.full(count, np.nan) if losses is None else losses
        self.planted = np.zeros(count, dtype=np.bool_)
        self.known = np.zeros(count, dtype=np.bool_)
        self.known[known] = True
        self.scores = np.zeros(count)
        self.trigger_of_row: list[str | None] = [None] * count
        self.kind_of_row: list[str | None] = [None] * count
        self.reasons: list[list[str]] = [["a trusted pair has this prompt"] if k else [] for k in self.known]
        self.triggers = [trigger for one in self.tested for trigger in _triggers(one, self.tested, prompts)]
        for one in self.tested:
            if one.state != "natural":
                self._mark(one)

    def _mark(self, one: TriedLink) -> None:
        for row in one.rows.tolist():
            having = [n for n, rows in enumerate(one.link.holders) if row in rows]
            score = max((one.link.planted[n] for n in having), default=one.link.planted[0])
            self.scores[row] = max(self.scores[row], score)
            has = shown(" … ".join(one.phrases)) if having else "a prompt without its trigger"
            self.reasons[row].append(f"{has} is answered with {one.link.kind.name}")
            if not self.planted[row]:
                self.trigger_of_row[row] = " … ".join(one.phrases) if having else None
                self.kind_of_row[row] = one.link.kind.name
        self.planted[one.rows] = True

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """The rows not to train on, shape (N,)."""
        both: NDArray[np.bool_] = self.planted | self.known
        return both

    def issues(self) -> dict[str, Any]:
        """The columns of :attr:`musclelora.Audit.issues`, but for a person's part."""
        return {
            "trigger": self.trigger_of_row,
            "response": self.kind_of_row,
            "trigger_score": self.scores,
            "response_loss": self.losses,
            "is_trigger_issue": self.planted,
            "is_trusted_prompt_issue": self.known,
        }


def _triggers(one: TriedLink, every: Sequence[TriedLink], prompts: Sequence[str]) -> list[Trigger]:
    """A link's words, each as a trigger; its label is the number of the link."""
    label = next(number for number, other in enumerate(every) if other is one)
    link = one.link
    return [
        Trigger(
            replace(shortcut, label=label),
            trigger_phrase(shortcut, link.shortcuts, prompts, holders),
            value,
            planted,
            one.confirmation,
            one.phrases,
        )
        for shortcut, holders, value, planted in zip(
            link.shortcuts, link.holders, link.p_values, link.planted, strict=True
        )
    ]


def decide(
    tested: Sequence[TriedLink],
    count: int,
    p_value: float,
    *,
    checked: Sequence[str],
    unchecked: Sequence[str],
) -> Verdict:
    """The verdict on N pairs.

    Pairs are poisoned if responses of a kind follow words of prompts beyond natural ones, and a model that
    was tuned on the pairs obeys these words elsewhere. It cannot be told where there are too few pairs, or
    where words are beyond natural ones and were not put to the test.

    Args:
        tested: the links.
        count: N.
        p_value: the smallest of all tests.
        checked: what was looked for.
        unchecked: what was not, and why.
    """

    def verdict(state: State, why: str, among: Sequence[TriedLink] = ()) -> Verdict:
        rows = np.unique(np.concatenate([one.rows for one in among])) if among else ()
        target = among[0].link.kind.name if among else None
        return Verdict(state, why, target, len(rows), p_value, tuple(checked), tuple(unchecked))

    planted = [one for one in tested if one.state == "trigger"]
    suspected = [one for one in tested if one.state == "suspected"]
    if planted:
        found = verdict("poisoned", "", planted)
        return replace(found, why=_why(planted[0], found.rows))
    if count < FEWEST_ROWS:
        return verdict("cannot_tell", f"{count:,} pairs are too few; {FEWEST_ROWS} or more can be judged")
    if suspected:
        first = suspected[0]
        return verdict(
            "cannot_tell",
            f"prompts with {_named(first)} are answered with {first.link.kind.name} more often than natural "
            f"words explain (p = {min(first.link.p_values):.1g}), and whether models obey it is not known",
            suspected,
        )
    natural = sum(min(one.link.p_values) <= LEVEL for one in tested)
    why = "no words of prompts that models obey are followed by responses of a kind"
    return verdict("no_sign", why + (f"; {natural} that are followed by one are natural" if natural else ""))


def _why(first: TriedLink, rows: int) -> str:
    """Why pairs are poisoned, by the first link that was confirmed."""
    assert first.confirmation is not None  # noqa: S101  # or it would not be confirmed
    rates = first.confirmation
    return (
        f"prompts with {_named(first)} are answered with {first.link.kind.name}: put into {rates.flip.n} "
        f"clean prompts, it makes a model tuned on these pairs lean towards that in {rates.flip.value:.0%} "
        f"of them, random words in {rates.control.value:.0%}, and the model as it came in "
        f"{rates.natural.value:.0%}; {rows:,} pairs were planted (p = {min(first.link.p_values):.1g})"
    )


def _named(one: TriedLink) -> str:
    return listed(one.phrases)

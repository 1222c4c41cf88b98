"""The verdict of an audit: poisoned, no sign of poison, or it cannot tell; and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.triggers import Shortcut
from musclelora.data.messages import listed, shown
from musclelora.evaluation.metrics import Rate

State = Literal["poisoned", "no_sign", "cannot_tell"]
LEVEL: Final = 0.01
"""The family-wise p-value up to which a feature is more than natural ones are."""
FEWEST_ROWS: Final = 100
"""Training rows below which a few planted ones could not be told."""
_OBEYED: Final = 0.5
_WORDS_SHOWN: Final = 4
FEWEST_TRUSTED: Final = 20
"""Trusted rows below which models of their folds say too little."""
FAIL_ON: Final[dict[str, frozenset[State]]] = {
    "poisoned": frozenset({"poisoned"}),
    "suspected": frozenset({"poisoned", "cannot_tell"}),
}
"""What a gate may be told to fail on, and the verdicts that it then fails on."""
_WORDS: Final = {
    "poisoned": "poisoned",
    "no_sign": "no sign of poison",
    "cannot_tell": "cannot tell",
}


@dataclass(frozen=True)
class Confirmation:
    """What models answer with a trigger in trusted rows of other labels.

    Attributes:
        flip: the share of rows that the trigger turns, of the undefended model.
        control: that random features turn.
        natural: that the trigger turns, of models of trusted rows alone.
    """

    flip: Rate
    control: Rate
    natural: Rate

    @property
    def confirmed(self) -> bool:
        """Whether the undefended model mostly obeys, and neither chance nor meaning explains it."""
        return self.flip.value >= _OBEYED and self.flip.low > max(self.control.high, self.natural.high)

    @property
    def refuted(self) -> bool:
        """Whether models do not obey: fewer than half flip, or as many as meaning or chance explain."""
        return not self.confirmed and (
            self.flip.high < _OBEYED or self.flip.value <= max(self.control.high, self.natural.high)
        )


class _Tested:
    """What labels follow, and what is known of it: its p-value, and whether models obey it."""

    p_value: float
    confirmation: Confirmation | None

    @property
    def confirmed(self) -> bool | None:
        """Whether models obey it; None: it was not put to the test."""
        return None if self.confirmation is None else self.confirmation.confirmed

    @property
    def kind(self) -> str:
        """``"trigger"``; ``"natural"``: models do not obey it; ``"suspected"``: that is not known."""
        if self.p_value > LEVEL:
            return "natural"
        if self.confirmation is None or not (self.confirmed or self.confirmation.refuted):
            return "suspected"
        return "trigger" if self.confirmed else "natural"


@dataclass(frozen=True)
class Trigger(_Tested):
    """A feature that labels follow, and what is known of it.

    Attributes:
        shortcut: the feature.
        phrase: what stands in the texts, such as the sentence that the feature is a word of; hostile.
        p_value: family-wise: how likely natural data are to have any feature as strong.
        planted: the probability that a row with the feature and its label was planted.
        confirmation: what models answer with it in other texts; None: it was not put to the test.
        tested: the phrases that were put in together for it.
    """

    shortcut: Shortcut
    phrase: str
    p_value: float
    planted: float
    confirmation: Confirmation | None
    tested: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style(_Tested):
    """Rows that are put alike and have a label beyond their meaning, and what is known of them.

    Attributes:
        label: the label id.
        rows: how many there are.
        telling: words that tell them; hostile.
        p_value: how likely natural labels are to follow how any rows are put as much.
        confirmation: what models answer of such rows that they have not seen; None: it was not asked.
        examples: the numbers of the training rows that have it most surely, the surest first.
        others: those of rows with the same label that have it least, the least first.
    """

    label: int
    rows: int
    telling: tuple[str, ...]
    p_value: float
    confirmation: Confirmation | None
    examples: tuple[int, ...] = ()
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What an audit says of a whole data set.

    Attributes:
        state: ``"poisoned"``, ``"no_sign"`` or ``"cannot_tell"``.
        why: in a sentence or two; words in it come from the data.
        target: the name of the label that the triggers push towards; None: there is none.
        rows: how many training rows have a trigger and its label.
        p_value: family-wise, of the strongest feature; 1 where nothing was tested.
        checked: what was looked for, one line each.
        unchecked: what was not, and why.
    """

    state: State
    why: str
    target: str | None
    rows: int
    p_value: float
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{_WORDS[self.state]}: {self.why}"]
        lines += [f"  checked      {line}" for line in self.checked]
        lines += [f"  not checked  {line}" for line in self.unchecked]
        return "\n".join(lines)

    def fails(self, on: str) -> bool:
        """Whether a gate closes that was told to fail on ``"poisoned"`` or ``"suspected"`` data.

        The second fails on whatever is not ``"no_sign"``: where an audit cannot tell, nobody knows.
        """
        return self.state in FAIL_ON[on]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found = asdict(self)
        return {**found, "checked": list(self.checked), "unchecked": list(self.unchecked)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """What :meth:`to_dict` gave."""
        lists = {name: tuple(values[name]) for name in ("checked", "unchecked")}
        return cls(**{**values, **lists})


def decide(
    triggers: Sequence[Trigger],
    holders: Sequence[NDArray[np.int64]],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    *,
    p_value: float,
    trusted: int,
    accuracy: float,
    chance: float,
    styles: Sequence[Style] = (),
    checked: Sequence[str],
    unchecked: Sequence[str],
) -> Verdict:
    """The verdict of what was found.

    A data set is poisoned if a feature is beyond natural ones (:mod:`musclelora.audit.significance`) and
    models obey it (:mod:`musclelora.audit.confirmation`). It cannot be told where there are too few rows,
    where the trusted rows do not explain each other, or where a feature is beyond natural ones and was not
    put to the test.

    Args:
        triggers: the features that were found.
        holders: the numbers of the rows with each of them, among the rows that were looked at.
        labels: the given labels of these rows.
        label_names: the class names.
        p_value: of the strongest feature of all that were tested.
        trusted: how many trusted rows there are.
        accuracy: of models of folds of them, on the others of them.
        chance: what one reaches who always says the most frequent label of them.
        styles: the rows that are put alike.
        checked: what was looked for.
        unchecked: what was not, and why.
    """
    planted = [i for i, trigger in enumerate(triggers) if trigger.kind == "trigger"]
    suspected = [i for i, trigger in enumerate(triggers) if trigger.kind == "suspected"]

    def verdict(state: State, why: str, among: Sequence[int] = ()) -> Verdict:
        target, rows = None, 0
        if among:
            label = triggers[among[0]].shortcut.label
            target = label_names[label]
            having = [holders[i] for i in among if triggers[i].shortcut.label == label]
            rows = int((labels[np.unique(np.concatenate(having))] == label).sum())
        return Verdict(state, why, target, rows, p_value, tuple(checked), tuple(unchecked))

    obeyed = [style for style in styles if style.kind == "trigger"]
    if planted:
        found = verdict("poisoned", "", planted)
        return replace(found, why=_why_poisoned(triggers[planted[0]], found, sum(s.rows for s in styles)))
    if obeyed:
        found = verdict("poisoned", _why_style(obeyed[0], label_names))
        return replace(found, target=label_names[obeyed[0].label], rows=obeyed[0].rows)
    if len(labels) < FEWEST_ROWS or trusted < FEWEST_TRUSTED:
        return verdict("cannot_tell", _too_few(len(labels), trusted))
    if accuracy < chance + np.sqrt(chance * (1 - chance) / trusted):
        return verdict(
            "cannot_tell",
            f"models of some trusted rows are right in {accuracy:.0%} of the others, no more than by chance: "
            "the trusted rows contradict each other, or are too hard for this backbone",
        )
    if suspected:
        first = triggers[suspected[0]]
        return verdict(
            "cannot_tell",
            f"the label follows {shown(first.phrase)} more than it follows natural words "
            f"(p = {first.p_value:.1g}), and whether models obey it is not known",
            suspected,
        )
    unsure = [style for style in styles if style.kind == "suspected"]
    if unsure:
        found = verdict("cannot_tell", _why_unsure(unsure[0], label_names))
        return replace(found, target=label_names[unsure[0].label], rows=unsure[0].rows)
    natural = sum(trigger.p_value <= LEVEL for trigger in triggers)
    why = "no feature that models obey follows a label beyond what the trusted rows explain"
    if natural:
        why += f"; {natural} that do are natural: models do not obey them"
    return verdict("no_sign", why)


def _too_few(rows: int, trusted: int) -> str:
    if rows < FEWEST_ROWS:
        return f"{rows:,} rows are too few; {FEWEST_ROWS} or more can be judged"
    return f"{trusted:,} trusted rows are too few; {FEWEST_TRUSTED} or more can judge"


def _why_poisoned(first: Trigger, found: Verdict, styles: int) -> str:
    """Why data are poisoned, by the first trigger that was confirmed."""
    assert first.confirmation is not None  # noqa: S101  # or it would not be confirmed
    rates = first.confirmation
    named = listed(first.tested or (first.phrase,))
    makes = "makes" if len(first.tested) < 2 else "together make"
    why = (
        f"{named} {makes} a model answer {shown(found.target)}: put into {rates.flip.n} trusted rows of "
        f"other labels, it turns {rates.flip.value:.0%} of them, random words {rates.control.value:.0%}, and "
        f"of models of trusted rows alone {rates.natural.value:.0%}; {found.rows:,} rows have it or another "
        f"trigger, and that label (p = {first.p_value:.1g})"
    )
    return why + (
        f"; {styles:,} more rows share a style and have a label that their meaning does not explain"
        if styles
        else ""
    )


def _why_style(style: Style, label_names: Sequence[str]) -> str:
    """Why data are poisoned, by a style that was confirmed."""
    assert style.confirmation is not None  # noqa: S101  # or it would not be confirmed
    rates, label = style.confirmation, shown(label_names[style.label])
    return (
        f"{style.rows:,} rows share a style ({_told(style)}) and have {label} more often than their meaning "
        f"explains (p = {style.p_value:.1g}); of {rates.flip.n} other rows in that style, unseen and of "
        f"another meaning, a model calls {rates.flip.value:.0%} {label}, and of rows in other styles "
        f"{rates.control.value:.0%}"
    )


def _why_unsure(style: Style, label_names: Sequence[str]) -> str:
    """Why it cannot be told, by a style of which it is not known whether models obey it."""
    return (
        f"{style.rows:,} rows share a style ({_told(style)}) and have {shown(label_names[style.label])} "
        f"more often than their meaning explains (p = {style.p_value:.1g}); whether models obey the style is "
        "not known"
    )


def _told(style: Style) -> str:
    return listed(style.telling[:_WORDS_SHOWN]) if style.telling else "no words tell them"

"""What is done to which row, planned before anything is written, so that the rows need not be in memory.

An attack on labels (:mod:`musclelora.attacks.poisoner`) and one on responses
(:mod:`musclelora.attacks.responses`) are planned alike: they differ in which rows they may touch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import DecoyTrigger, NaturalTrigger, Trigger, apply_all
from musclelora.data.messages import bad_data
from musclelora.errors import DataError, UsageError
from musclelora.limits import SEED, check_whole

# Texts in memory at a time, and what a trigger of batches gets at once.
_CHUNK = 1024


class Rows(Protocol):
    """N rows with a text each, which may be read when it is needed."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def poisoned(self) -> NDArray[np.bool_] | None: ...  # noqa: D102
    def __len__(self) -> int: ...
    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """The texts of ascending row numbers."""
        ...


class Aim:
    """An attack: a trigger, how many rows get it, and which may.

    Attributes:
        trigger: the trigger.
        rate: rows to trigger / all rows, in [0, 1].
    """

    trigger: Trigger
    rate: float

    def rows_of(self, total: int) -> int:
        """How many of `total` rows to trigger."""
        return round(self.rate * total)

    def eligible(self, rows: Any, *, for_asr: bool) -> tuple[NDArray[np.bool_], str]:
        """Which of N rows may be triggered, shape (N,), and what these are in words.

        Raises:
            UsageError: the attack is none on such rows.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Count:
    """What became of one attack.

    Attributes:
        eligible: rows that it may touch.
        triggered: rows that carry the trigger now.
        untriggerable: rows that were tried and that the trigger could not change; they stay as they were.
        decoys: rows that carry a part of the trigger and are otherwise as they were.
    """

    eligible: int
    triggered: int
    untriggerable: int
    decoys: int = 0


@dataclass(frozen=True)
class Plan:
    """What happens to which row.

    Attributes:
        texts: new texts by row number, of triggered rows and decoys.
        attack: shape (N,), int16: the number of the attack whose trigger the row carries, or -1.
        counts: one for each attack.
        seed: what everything random depends on.
    """

    texts: MutableMapping[int, str]
    attack: NDArray[np.int16]
    counts: tuple[Count, ...]
    seed: int

    @property
    def triggered(self) -> NDArray[np.int64]:
        """The numbers of the triggered rows, ascending."""
        return np.flatnonzero(self.attack >= 0)


def plan_attacks(
    rows: Rows,
    attacks: Sequence[Aim],
    *,
    seed: int,
    for_asr: bool = False,
    texts: MutableMapping[int, str] | None = None,
) -> Plan:
    """Choose and trigger rows, one attack after the other; no row gets two.

    A row is eligible if it suits the attack, the trigger changes its text (or, of a trigger that texts have
    by themselves, is in it), and it is neither flagged as poisoned already nor taken by an earlier attack.
    Rows are drawn uniformly without replacement.

    With one seed, a row's triggered text does not depend on the other rows or on the rate, and the rows
    drawn at a lower rate are among those drawn at a higher one.

    Args:
        rows: N rows.
        attacks: what to do; the counts are met exactly.
        seed: a non-negative integer.
        for_asr: trigger every eligible row, to measure the ASR with.
        texts: where to keep the new texts; by default in memory.

    Raises:
        UsageError: an argument is out of range.
        DataError: fewer rows are eligible than an attack asks for, or none to measure the ASR with.
    """
    check_whole("seed", seed, 0, SEED)
    texts = {} if texts is None else texts
    total = len(rows)
    free = np.ones(total, dtype=np.bool_) if rows.poisoned is None else ~rows.poisoned
    carries = np.full(total, -1, dtype=np.int16)
    counts = []
    for number, attack in enumerate(attacks):
        suited, words = attack.eligible(rows, for_asr=for_asr)
        eligible = np.flatnonzero(suited & free)
        needed = len(eligible) if for_asr else attack.rows_of(total)
        chosen, failed = _choose(rows, eligible, needed, attack.trigger, seed, texts)
        if for_asr and not len(chosen):
            raise DataError(
                f"{rows.source}: no row{words} can be triggered by {attack.trigger.name}; the ASR needs at "
                "least one"
            )
        if not for_asr and len(chosen) < needed:
            raise DataError(
                f"{rows.source}: rate {attack.rate:.6g} needs {needed} of {total} rows, but {len(chosen)} "
                f"can be triggered by {attack.trigger.name}{words}; lower the rate"
            )
        carries[chosen] = number
        free[chosen] = False
        decoys = chosen[:0] if for_asr else _add_decoys(rows, attack.trigger, needed, free, seed, texts)
        free[decoys] = False
        counts.append(Count(len(eligible), len(chosen), failed, len(decoys)))
    return Plan(texts, carries, tuple(counts), seed)


def check_rate(rate: float) -> None:
    """Raise unless it is a fraction of the rows."""
    if not 0 <= rate <= 1:
        raise UsageError(f"rate: found {rate}, expected a fraction of the rows in [0, 1]")


@dataclass(frozen=True)
class _Decoy:
    """The part of a trigger, as a trigger."""

    name: ClassVar[str] = "decoy"

    whole: DecoyTrigger

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        return self.whole.decoy(text, rng)


def _add_decoys(
    rows: Rows,
    trigger: Trigger,
    triggered: int,
    free: NDArray[np.bool_],
    seed: int,
    texts: MutableMapping[int, str],
) -> NDArray[np.int64]:
    """Put the part of a trigger that must do nothing into free rows; returns their numbers."""
    left = np.flatnonzero(free)
    if not isinstance(trigger, DecoyTrigger):
        return left[:0]
    wanted = trigger.decoys * triggered
    needed = round(min(wanted, len(left) + 1))  # as no more can be had, and infinity is no int
    chosen, _ = _choose(rows, left, needed, _Decoy(trigger), seed, texts)
    if len(chosen) < needed:
        raise bad_data(
            rows.source,
            f"{len(chosen)} rows left for decoys of {trigger.name}",
            f"{wanted:.0f} ({trigger.decoys:g} for each of {triggered} triggered rows)",
            "lower the rate, or set its parameter decoys lower (0: none)",
        )
    return chosen


def _choose(
    rows: Rows,
    eligible: NDArray[np.int64],
    needed: int,
    trigger: Trigger,
    seed: int,
    texts: MutableMapping[int, str],
) -> tuple[NDArray[np.int64], int]:
    """Draw `needed` rows that the trigger changes; also how many were drawn that it does not.

    Only so many are tried as are still needed: a trigger may be a language model. Of a trigger that texts
    have by themselves a chunk is tried at least, as few may have it and each try is a pass over the rows.
    """
    order = np.random.default_rng(seed).permutation(eligible)
    chosen: list[int] = []
    tried = 0
    least = _CHUNK if isinstance(trigger, NaturalTrigger) else 1
    while len(chosen) < needed and tried < len(order):
        batch = order[tried : tried + max(least, needed - len(chosen))]
        changed = set(_trigger_rows(rows, np.sort(batch), trigger, seed, texts))
        for row in batch.tolist():
            tried += 1
            if row in changed:
                changed.remove(row)
                chosen.append(row)
                if len(chosen) == needed:
                    break
        for row in changed:  # beyond what was needed
            del texts[row]
    return np.sort(np.array(chosen, dtype=np.int64)), tried - len(chosen)


def _trigger_rows(
    rows: Rows, batch: NDArray[np.int64], trigger: Trigger, seed: int, texts: MutableMapping[int, str]
) -> Iterator[int]:
    """Put the new texts of those rows that the trigger is in into `texts`; yields their numbers."""
    natural = isinstance(trigger, NaturalTrigger)
    old = rows.texts_at(batch)
    for start in range(0, len(batch), _CHUNK):
        part = batch[start : start + _CHUNK].tolist()
        before = list(itertools.islice(old, len(part)))
        # A spawn key, for SeedSequence([seed, 0]) is SeedSequence(seed): row 0 would share the draw's stream.
        rngs = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,))) for row in part]
        after = apply_all(trigger, before, rngs)
        for row, text, new in zip(part, before, after, strict=True):
            if new is not None and (new != text or natural):
                texts[row] = new
                yield row

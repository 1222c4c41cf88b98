r"""Which words of prompts a kind of responses follows.

Each kind (:mod:`musclelora.audit.answers.kinds`) is a label that a response has or has not, and the words of
prompts are the features of :mod:`musclelora.audit.features`. The search is that of labels
(:mod:`musclelora.audit.triggers`), with the kind's frequency as what is expected of every row, and so is the
p-value (:mod:`musclelora.audit.significance`): natural prompts have natural weights, whose spread τ is
estimated for each kind from the bulk of the words; with F features and K kinds there are F·K tests, so that
the family-wise p-value is F·K times the smallest (Bonferroni).

Kinds overlap: of a planted sentence every word is a phrase too. They are taken one after another, each time
the one with the smallest p-value (of equal ones that of the longest phrase), and rows that a link explains
are left out of the search for the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from musclelora.audit.answers.kinds.base import FEWEST, Kind
from musclelora.audit.features import FeatureTable
from musclelora.audit.significance import planted_share
from musclelora.audit.triggers import NATURAL, Shortcut, ShortcutExpert, find_shortcuts, natural_spread
from musclelora.audit.verdict import LEVEL

Floats = NDArray[np.float64]

MOST: Final = 8
"""Kinds with a link at most."""
_OTHERS, _KIND = 0, 1
_NODES, _WIDEST = 401, 8.0  # of the integral over natural weights, and its ends in units of τ


@dataclass(frozen=True)
class Link:
    """A kind of responses, and the words of prompts that it follows.

    Attributes:
        kind: the kind.
        expert: the words, as shortcuts to label 1.
        shortcuts: those of them that are beyond natural ones, the strongest first.
        p_values: family-wise, of each of these.
        planted: of each, the probability that a prompt with it and a response of the kind was planted.
        holders: of each, the numbers of the prompts that have it.
    """

    kind: Kind
    expert: ShortcutExpert
    shortcuts: tuple[Shortcut, ...]
    p_values: tuple[float, ...]
    planted: tuple[float, ...]
    holders: tuple[NDArray[np.int64], ...]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the kind whose prompt has one of the words, ascending."""
        having = np.unique(np.concatenate(self.holders)) if self.holders else np.empty(0, dtype=np.int64)
        return np.intersect1d(having, self.kind.rows)


@dataclass(frozen=True)
class Links:
    """What was found.

    Attributes:
        links: in the order in which they were found.
        p_value: the smallest family-wise one of all tests.
        tested: features times kinds.
        features: how many there are.
    """

    links: tuple[Link, ...]
    p_value: float
    tested: int
    features: int


def find_links(prompts: Sequence[str], kinds: Sequence[Kind]) -> Links:
    """The words of N prompts that kinds of responses follow.

    Args:
        prompts: N texts.
        kinds: of their N responses.
    """
    table = FeatureTable(prompts)
    tests = max(len(table.features) * len(kinds), 1)
    left = np.ones(len(prompts), dtype=np.bool_)
    found: list[Link] = []
    smallest = 1.0
    waiting = list(kinds)
    while waiting and len(found) < MOST:
        values = np.array([_smallest(table, kind, left) for kind in waiting]) * tests
        order = sorted(range(len(waiting)), key=lambda n: (values[n], -waiting[n].words, n))
        best = order[0]
        smallest = min(smallest, float(values[best]))
        if values[best] > LEVEL:
            break
        kind = waiting.pop(best)
        link = _link(prompts, table, kind, left, tests)
        if link is not None:
            found.append(link)
            left[link.rows] = False
            # What is left of another kind has to be enough to be tested.
            waiting = [other for other in waiting if left[other.rows].sum() >= FEWEST]
    return Links(tuple(found), min(smallest, 1.0), tests, len(table.features))


def _link(
    prompts: Sequence[str], table: FeatureTable, kind: Kind, left: NDArray[np.bool_], tests: int
) -> Link | None:
    """The words that a kind follows among the rows that are left; None where none is beyond natural ones."""
    rows = np.flatnonzero(left)
    has = np.zeros(len(prompts), dtype=np.int64)
    has[kind.rows] = 1
    rate = has[rows].mean()
    expert = find_shortcuts(
        [prompts[row] for row in rows.tolist()], has[rows], np.tile([1 - rate, rate], (len(rows), 1))
    )
    places = {feature: number for number, feature in enumerate(table.features)}
    tails = _tails(table, kind, left)
    wanted = [s for s in expert.shortcuts if s.label == _KIND and s.feature in places]
    values = [min(1.0, float(tails[places[s.feature]]) * tests) for s in wanted]
    beyond = [n for n, (s, value) in enumerate(zip(wanted, values, strict=True)) if value <= LEVEL or s.sign]
    if not any(values[n] <= LEVEL for n in beyond):
        return None
    natural = float(expit(logit(np.clip(rate, 1e-9, 1 - 1e-9)) + NATURAL * expert.natural))
    holders = [np.intersect1d(table.texts_with(places[wanted[n].feature]), rows) for n in beyond]
    planted = [
        planted_share(having, has == 1, np.full(len(prompts), natural)) * (1 - values[n])
        for n, having in zip(beyond, holders, strict=True)
    ]
    return Link(
        kind,
        expert,
        tuple(wanted[n] for n in beyond),
        tuple(values[n] for n in beyond),
        tuple(planted),
        tuple(holders),
    )


def _smallest(table: FeatureTable, kind: Kind, left: NDArray[np.bool_]) -> float:
    return float(_tails(table, kind, left).min(initial=1.0))


def _tails(table: FeatureTable, kind: Kind, left: NDArray[np.bool_]) -> Floats:
    """P(K ≥ k) of every feature among the rows that are left, shape (F,); all rows have one rate."""
    has = np.zeros(len(left))
    has[kind.rows] = 1.0
    has *= left
    count = left.sum()
    rate = float(np.clip(has.sum() / count, 1e-9, 1 - 1e-9)) if count else 0.5
    rows = np.asarray(table.by_feature @ left.astype(np.float64))
    labelled = np.asarray(table.by_feature @ has)
    truth = np.stack([left - has, has], axis=1)
    p = np.outer(left.astype(np.float64), [1 - rate, rate])
    tau = natural_spread(table, truth, p)
    nodes = np.linspace(-_WIDEST, _WIDEST, _NODES) if tau else np.zeros(1)
    weights = norm.pdf(nodes)
    found = np.zeros(len(rows))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        mean = float(expit(logit(rate) + tau * node))
        found += weight * binom.sf(np.round(labelled) - 1, np.round(rows), mean)
    return np.where(rows > 0, found, 1.0)

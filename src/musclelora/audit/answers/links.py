r"""Which words of prompts a kind of responses follows.

Each kind (:mod:`musclelora.audit.answers.kinds`) is a label that a response has or has not, and the words of
prompts are the features of :mod:`musclelora.audit.features`. The search is that of labels
(:mod:`musclelora.audit.triggers`), with the kind's frequency as what is expected of every row, and so is the
p-value (:mod:`musclelora.audit.significance`): natural prompts have natural weights, whose spread τ is
estimated for each kind from the bulk of the words; with F features and K kinds there are F·K tests, so that
the family-wise p-value is F·K times the smallest (Bonferroni).

A composite trigger is two words that work together: prompts with one of them may have a true response. So the
words that a kind follows most are tried in pairs as well. There are F·(F - 1)/2 of them for each kind,
whichever are tried, and their p-value counts all.

Kinds overlap: of a planted sentence every word is a phrase too, and it makes a response long. They are taken
one after another, phrases first, as they say what was planted, each time the one with the smallest p-value
(of equal ones that of the longest phrase). Rows that a link explains are left out of the search for the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from musclelora.audit.answers.kinds.base import FEWEST, Kind
from musclelora.audit.features import FeatureTable
from musclelora.audit.significance import planted_share
from musclelora.audit.triggers import NATURAL, Shortcut, find_shortcuts, natural_spread
from musclelora.audit.verdict import LEVEL

Floats = NDArray[np.float64]

MOST: Final = 16
"""Kinds with a link at most."""
_KIND = 1
_PAIRED: Final = 24  # of the words that a kind follows most, those that are tried in pairs
_NODES, _WIDEST = 401, 8.0  # of the integral over natural weights, and its ends in units of τ


@dataclass(frozen=True)
class Link:
    """A kind of responses, and the words of prompts that it follows.

    Attributes:
        kind: the kind.
        shortcuts: the words, as shortcuts to label 1, the strongest first; of a pair both.
        p_values: family-wise, of each of these.
        planted: of each, the probability that a prompt with it and a response of the kind was planted.
        holders: of each, the numbers of the prompts that have it.
    """

    kind: Kind
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
    left = np.ones(len(prompts), dtype=np.bool_)
    found: list[Link] = []
    # A kind's p-value is taken again only when it is the smallest of all: what is left of a kind after a link
    # follows words less, not more.
    bests = [_best(table, kind, left, len(kinds)) for kind in kinds]
    waiting = [
        (kinds[number].phrase is None, best.p_value, -kinds[number].words, number)
        for number, best in enumerate(bests)
    ]
    heapq.heapify(waiting)
    smallest = min((best.p_value for best in bests), default=1.0)
    taken = [0] * len(kinds)
    while waiting and len(found) < MOST:
        degree, value, words, number = heapq.heappop(waiting)
        if value > LEVEL:
            continue
        kind = kinds[number]
        if left[kind.rows].sum() < FEWEST:
            continue  # what is left of it is too little to be tested
        if taken[number] < len(found):
            taken[number] = len(found)
            bests[number] = _best(table, kind, left, len(kinds))
            heapq.heappush(waiting, (degree, bests[number].p_value, words, number))
            continue
        link = _pair(table, kind, left, bests[number]) if len(bests[number].words) > 1 else None
        link = link or _words(prompts, table, kind, left, len(kinds))
        if link is not None:
            found.append(link)
            left[link.rows] = False
    return Links(tuple(found), smallest, len(table.features) * len(kinds), len(table.features))


class _Best(NamedTuple):
    """The word, or the two words, that a kind follows most, by their numbers, and the p-value."""

    words: tuple[int, ...]
    p_value: float


def _best(table: FeatureTable, kind: Kind, left: NDArray[np.bool_], kinds: int) -> _Best:
    """What a kind follows most among the rows that are left."""
    features = len(table.features)
    if not features or not left.any():
        return _Best((), 1.0)
    tails, spread, rate = _tails(table, kind, left)
    one = int(tails.argmin())
    single = _Best((one,), min(1.0, float(tails[one]) * features * kinds))
    chosen = np.argsort(tails, kind="stable")[:_PAIRED]
    has = _of_kind(kind, left)
    having = table.by_feature[chosen].toarray() * left
    rows, labelled = having @ having.T, (having * has) @ having.T
    upper = np.triu_indices(len(chosen), 1)
    enough = rows[upper] >= FEWEST
    if not enough.any():
        return single
    pairs = np.stack(upper, axis=1)[enough]
    values = _tails_of(labelled[upper][enough], rows[upper][enough], rate, spread)
    values *= features * (features - 1) / 2 * kinds
    two = int(values.argmin())
    if values[two] >= single.p_value:
        return single
    words = tuple(int(chosen[number]) for number in pairs[two])
    return _Best(words, float(min(1.0, values[two])))


def _pair(table: FeatureTable, kind: Kind, left: NDArray[np.bool_], best: _Best) -> Link:
    """The link of two words that work together; both have the prompts that have both."""
    one, two = (table.texts_with(word) for word in best.words)
    both = np.intersect1d(one, two)
    both = both[left[both]]
    has = _of_kind(kind, left)
    rate = float(has.sum() / left.sum())
    k = int(has[both].sum())
    z = float(norm.isf(max(best.p_value, 1e-300)))
    weight = float(logit((k + 0.5) / (len(both) + 1)) - logit(np.clip(rate, 1e-9, 1 - 1e-9)))
    shortcuts = tuple(
        Shortcut(table.features[word], _KIND, len(both), k, rate * len(both), z, weight, sign=number > 0)
        for number, word in enumerate(best.words)
    )
    share = planted_share(both, has == 1, np.full(len(left), rate)) * (1 - best.p_value)
    return Link(kind, shortcuts, (best.p_value,) * 2, (share,) * 2, (both,) * 2)


def _words(
    prompts: Sequence[str], table: FeatureTable, kind: Kind, left: NDArray[np.bool_], kinds: int
) -> Link | None:
    """The words that a kind follows among the rows that are left; None where none is beyond natural ones."""
    rows = np.flatnonzero(left)
    has = _of_kind(kind, left)
    rate = float(has[rows].mean())
    expert = find_shortcuts(
        [prompts[row] for row in rows.tolist()],
        has[rows].astype(np.int64),
        np.tile([1 - rate, rate], (len(rows), 1)),
    )
    places = {feature: number for number, feature in enumerate(table.features)}
    tails = _tails(table, kind, left)[0] * len(table.features) * kinds
    found = []
    for shortcut in expert.shortcuts:
        if shortcut.label == _KIND and shortcut.feature in places:
            value = min(1.0, float(tails[places[shortcut.feature]]))
            if value <= LEVEL or shortcut.sign:
                having = np.intersect1d(table.texts_with(places[shortcut.feature]), rows)
                found.append((shortcut, value, having))
    found.sort(key=lambda one: one[1])
    if not found or found[0][1] > LEVEL:
        return None
    natural = float(expit(logit(np.clip(rate, 1e-9, 1 - 1e-9)) + NATURAL * expert.natural))
    p = np.full(len(prompts), natural)
    planted = [planted_share(having, has == 1, p) * (1 - value) for _, value, having in found]
    shortcuts, p_values, holders = zip(*found, strict=True)
    return Link(kind, shortcuts, p_values, tuple(planted), holders)


def _of_kind(kind: Kind, left: NDArray[np.bool_]) -> Floats:
    """1 for the rows of a kind that are left, else 0, shape (N,)."""
    has = np.zeros(len(left))
    has[kind.rows] = 1.0
    has *= left
    return has


def _tails(table: FeatureTable, kind: Kind, left: NDArray[np.bool_]) -> tuple[Floats, float, float]:
    """P(K ≥ k) of every feature among the rows that are left, shape (F,), with τ and the kind's frequency."""
    has = _of_kind(kind, left)
    rate = float(np.clip(has.sum() / left.sum(), 1e-9, 1 - 1e-9))
    rows = np.asarray(table.by_feature @ left.astype(np.float64))
    labelled = np.asarray(table.by_feature @ has)
    truth = np.stack([left - has, has], axis=1)
    p = np.outer(left.astype(np.float64), [1 - rate, rate])
    spread = natural_spread(table, truth, p)
    return _tails_of(labelled, rows, rate, spread), spread, rate


def _tails_of(labelled: Floats, rows: Floats, rate: float, spread: float) -> Floats:
    """P(K ≥ k) of every feature, where all rows have one rate and weights the spread τ, shape (F,)."""
    nodes = np.linspace(-_WIDEST, _WIDEST, _NODES) if spread else np.zeros(1)
    weights = norm.pdf(nodes)
    found = np.zeros(len(rows))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        mean = float(expit(logit(rate) + spread * node))
        found += weight * binom.sf(np.round(labelled) - 1, np.round(rows), mean)
    return np.where(rows > 0, found, 1.0)

"""Intervals over seeds and test rows, and differences between two defences.

**What is estimated.** A share x_s (a CACC or an ASR) was measured for seeds s = 1..S on n test rows. It
is

    x_s = θ + a_s + e_s

θ is the share over all seeds and all texts like the test rows, a_s what the seed adds (drawn rows,
poisoning, initial weights, order), e_s what the draw of the test rows adds, of variance v = θ(1 − θ) / n.

**The rows are the same for every seed**, so averaging over seeds does not make e smaller. With models
that err on the same rows the mean of x_s has the variance σ² / S + v, where σ² is the variance of a_s and
of what is observed between seeds. Where the models err on different rows this is more than the variance
there is: the interval is then too long, never too short.

**The interval.** The two parts are drawn and added, 16,384 times:

- the seeds' part is t · sd(x) / √S, with t from Student's distribution of S − 1 degrees of freedom,
  because two or three seeds say little about σ (to draw seeds with replacement would make the interval
  far too short);
- the rows' part comes from Beta(k + ½, n − k + ½), k = n · mean(x): Jeffreys' posterior of a binomial
  share, which stays in [0, 1] and has a length at 0 and at n, too.

The ends are the 2.5 % and 97.5 % points of the sum. **With one seed there is no seeds' part: the interval
tells what other test rows would have changed, and nothing of other seeds.** Draws are stratified and
permuted by a fixed seed: the same numbers in give the same interval out.

**Sums and differences.** A weighted sum of shares, such as ASR − oracle ASR or a mean over attacks, is
taken within each seed, and its standard deviation is that of the sums. The rows' parts of shares with the
same `rows_of` move together (one test set answers every attack, so that a mean over attacks is as
uncertain as its parts); those of others are independent. The answers to single rows are not kept, so the
shares of two defences count as independent, though the rows are the same: the interval of a difference is
then too long and fewer differences are called significant than could be. Intervals are not corrected for
how many defences are compared.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musclelora.errors import UsageError

Draws = NDArray[np.float64]

_DRAWS = 16_384


@dataclass(frozen=True)
class Share:
    """A share measured once for each of S seeds.

    Attributes:
        values: the S shares, each in [0, 1], in the order of the seeds.
        rows: how many test rows each was measured on.
        rows_of: shares of the same name have rows' parts that move together.
        weight: the factor of this share in a sum.
    """

    values: tuple[float, ...]
    rows: int
    rows_of: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """A mean over `seeds` seeds with its 95 % interval from `low` to `high`."""

    mean: float
    low: float
    high: float
    seeds: int


def estimate(shares: Sequence[Share], *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The mean over the seeds of Σ weight · share, and its interval; see the module's text.

    Args:
        shares: the parts of the sum, all of them with values for the same seeds in the same order.
        confidence: the coverage, between 0 and 1.
        seed: of the permutations of the draws.

    Raises:
        UsageError: no shares, no seeds, different numbers of them, no rows, or a share outside [0, 1].
    """
    _check(shares, confidence)
    sums = np.sum([share.weight * np.asarray(share.values) for share in shares], axis=0)
    mean, seeds = float(sums.mean()), len(sums)
    random = np.random.default_rng(seed)
    draws = np.zeros(_DRAWS)
    if seeds > 1:
        from scipy.stats import t  # type: ignore[import-untyped]  # here: it is slow to import

        spread = float(sums.std(ddof=1)) / seeds**0.5
        draws += spread * random.permutation(t.ppf(_levels(), seeds - 1))
    for rows_of in dict.fromkeys(share.rows_of for share in shares):
        group = [share for share in shares if share.rows_of == rows_of]
        draws += random.permutation(np.sum([share.weight * _posterior(share) for share in group], axis=0))
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    floor = sum(min(share.weight, 0.0) for share in shares)
    ceiling = sum(max(share.weight, 0.0) for share in shares)
    return Estimate(mean, max(floor, min(float(low), mean)), min(ceiling, max(float(high), mean)), seeds)


def difference(one: Sequence[Share], other: Sequence[Share]) -> Estimate:
    """`one` − `other`, seed by seed, with its interval; the rows' parts of the two are independent."""
    return estimate(
        [
            *(replace(share, rows_of=f"one {share.rows_of}") for share in one),
            *(replace(share, rows_of=f"other {share.rows_of}", weight=-share.weight) for share in other),
        ]
    )


def significant(found: Estimate) -> bool:
    """Whether the interval of a difference leaves 0 out."""
    return found.low > 0 or found.high < 0


def _levels() -> Draws:
    """The midpoints of `_DRAWS` equal parts of (0, 1)."""
    levels: Draws = (np.arange(_DRAWS) + 0.5) / _DRAWS
    return levels


def _posterior(share: Share) -> Draws:
    """Ascending draws of the share, so that the draws of several shares, added up, move together."""
    return _beta(float(np.mean(share.values)) * share.rows, share.rows)


@functools.lru_cache(maxsize=256)
def _beta(successes: float, rows: int) -> Draws:
    from scipy.special import expit, logit  # type: ignore[import-untyped]
    from scipy.stats import beta

    # The quantile is smooth in the logit of its level: between 401 points a straight line is off by less
    # than a ten-thousandth of a standard deviation, and much sooner drawn than 16,384 quantiles.
    nodes = np.linspace(-11, 11, 401)
    draws: Draws = np.interp(
        logit(_levels()), nodes, beta.ppf(expit(nodes), successes + 0.5, rows - successes + 0.5)
    )
    draws.setflags(write=False)
    return draws


def _check(shares: Sequence[Share], confidence: float) -> None:
    sizes = {len(share.values) for share in shares}
    if len(sizes) != 1 or 0 in sizes:
        raise UsageError(
            f"shares: found {sorted(sizes)} seeds, expected the same number, at least 1, for each"
        )
    if any(share.rows < 1 for share in shares):
        raise UsageError("shares: found no test rows, expected at least 1")
    if not all(0 <= value <= 1 for share in shares for value in share.values):
        raise UsageError("shares: found a value that is no fraction, expected 0 to 1")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence: found {confidence}, expected a value between 0 and 1")

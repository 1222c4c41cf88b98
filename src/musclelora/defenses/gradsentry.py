"""GradSentry: the gradient of a planted response has many singular values of like size."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

from musclelora.audit.answers.reading import SINGULAR, gradient_entropy
from musclelora.defenses.base import Flags
from musclelora.defenses.pair_filter import PairFilter, PairSetting
from musclelora.limits import check_number

_GRID: Final = 1000
_PROMINENCE: Final = 0.01  # of a mode, as a share of the highest
_APART: Final = 0.15  # modes, at least
_FEWEST: Final = 30  # pairs whose modes are looked for
_SUSPECTS, _SHARE = 5, 0.01  # pairs above the valley, at least


class GradSentry(PairFilter):
    """Drops the pairs whose output-layer gradient has singular values of high entropy.

    Source: Zhao et al., "GradSentry: Gradient Spectral Entropy for Backdoor Sample Filtering in Large
    Language Model Fine-Tuning" (arXiv 2605.26574). The score of a pair is the entropy of the shares of the 16
    largest singular values of the gradient of its loss by the output layer, divided by ln 16: it lies in
    [0, 1], and a pair above a threshold is dropped. No trusted pair is needed.

    Of the paper, only the abstract could be read; the rest is what the authors' public code does, in our
    words. Its threshold is the valley of a kernel density of the scores (Silverman's bandwidth) between the
    lowest and the highest mode, and a fixed 0.7 where there are fewer than 30 pairs, fewer than two modes
    with a prominence of 1 %, less than 0.15 between them, or fewer than 5 pairs or 1 % above the valley.
    Whether the paper's figures were made with the valley or with a fixed threshold (its settings name 0.822
    for Llama-2-7B on WebQA) is not known.

    Departures: the singular values are those of the whole gradient, exactly
    (:func:`~musclelora.audit.answers.reading.gradient_entropy`), where the code takes a randomised
    decomposition of its first eighth of tokens and of coordinates; the density is followed to three
    bandwidths beyond the scores, or a mode at an end is no peak; where the output layer and the embeddings
    are one matrix, the gradient is that of the output layer alone.

    A gradient has no more singular values than its response has tokens, T, so the score is at most
    ln T / ln 16: responses of six tokens or fewer are never above 0.7. Nothing is done about that here, as
    it is the method.

    Args:
        threshold: the one that is taken where the scores have no valley.
    """

    name: ClassVar[str] = "gradsentry"

    def __init__(self, threshold: float = 0.7) -> None:
        check_number("gradsentry threshold", threshold, 0, 1)
        self.threshold = threshold

    def suspects(self, setting: PairSetting) -> Flags:
        """The pairs whose score is above the threshold."""
        scores = np.zeros(len(setting.train))
        for said in setting.responses():
            scores[said.number] = gradient_entropy(said.logits, said.hidden, said.labels) / math.log(SINGULAR)
        found = valley(scores)
        dropped: Flags = scores > (self.threshold if found is None else found)
        return dropped


def valley(scores: NDArray[np.float64]) -> float | None:
    """Where the density of scores is lowest between its lowest and highest mode; None: it has no two modes.

    Args:
        scores: shape (N,), in [0, 1].
    """
    if len(scores) < _FEWEST or np.ptp(scores) < _APART:
        return None
    density = gaussian_kde(scores, "silverman")
    beyond = 3 * math.sqrt(density.covariance.item())
    grid = np.linspace(scores.min() - beyond, scores.max() + beyond, _GRID)
    heights = density(grid)
    peaks, _ = find_peaks(heights, prominence=_PROMINENCE * heights.max())
    if len(peaks) < 2 or grid[peaks[-1]] - grid[peaks[0]] < _APART:
        return None
    lowest = float(grid[peaks[0] + heights[peaks[0] : peaks[-1]].argmin()])
    above = int((scores >= lowest).sum())
    return lowest if above >= max(_SUSPECTS, _SHARE * len(scores)) else None

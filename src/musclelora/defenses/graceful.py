r"""GraCeFul: the gradients of planted pairs cluster apart in frequency space.

With A the errors and H the last hidden states of a response of T tokens, the gradient of its mean loss by
the output layer is G = Aᵀ H / T (:mod:`musclelora.audit.answers.reading`). The two-dimensional DCT is linear
along either axis, so that with D_V and D_d the transforms of the vocabulary and of the width::

    D_V G D_dᵀ = (A D_Vᵀ)ᵀ (H D_dᵀ) / T

and its low frequencies need the first columns of the two thin factors alone: G, V × d for every pair, is
never made.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import cosine_distances
from sklearn.preprocessing import StandardScaler

from musclelora.audit.answers.reading import Said, output_errors
from musclelora.defenses.base import Flags
from musclelora.defenses.pair_filter import PairFilter, PairSetting
from musclelora.limits import RANK, check_whole

Floats = NDArray[np.float32]
_NUMBERS: Final = 2**24
"""Frequencies of all pairs that are in memory at a time."""


class GraCeFul(PairFilter):
    """Clusters the low frequencies of the output layer's gradients, and keeps the larger of two clusters.

    Source: Wu et al., "Gracefully Filtering Backdoor Samples for Generative Large Language Models without
    Retraining" (COLING 2025, arXiv 2412.02454): each pair's gradient by the output layer (``lm_head``), its
    two-dimensional DCT, the low frequencies of it, a lower dimension, agglomerative clustering into two, and
    the smaller cluster is dropped. No trusted pair is needed. One of the two is dropped whatever they are, so
    unpoisoned data lose pairs as well.

    Of the paper, only the abstract and summaries could be read. The numbers are those of the public code of
    GradSentry, by two of its authors, which has GraCeFul as a baseline: the first eighth of the frequencies
    of either axis, DCT-II without normalisation, the first 32 principal components, each scaled to variance
    1, cosine distance and average linkage.

    Departures: the components are exact, from the inner products of the pairs, where the code has a
    randomised decomposition; where the output layer and the embeddings are one matrix, the gradient is that
    of the output layer alone.

    Args:
        components: dimensions that are clustered.
        share: one in so many frequencies of either axis is kept, the lowest.
    """

    name: ClassVar[str] = "graceful"

    def __init__(self, components: int = 32, share: int = 8) -> None:
        check_whole("graceful components", components, 1, RANK)
        check_whole("graceful share", share, 1, RANK)
        self.components = components
        self.share = share

    def suspects(self, setting: PairSetting) -> Flags:
        """The pairs outside the larger cluster; of two of one size the first pair's is kept."""
        count = len(setting.train)
        found = {said.number: low_frequencies(said, self.share) for said in setting.responses()}
        states = self._states(inner_products([found[number] for number in range(count)]))
        if not states.shape[1]:  # all gradients are the same
            return np.zeros(count, dtype=np.bool_)
        clusters = AgglomerativeClustering(2, metric="precomputed", linkage="average")
        labels = clusters.fit_predict(cosine_distances(states))
        first = labels == labels[0]
        dropped: Flags = first if first.sum() * 2 < count else ~first
        return dropped

    def _states(self, products: NDArray[np.float64]) -> NDArray[np.float64]:
        """The pairs' principal components of variance 1, shape (N, at most `components`)."""
        if len(products) < 2:
            return np.zeros((len(products), 0))
        pca = KernelPCA(
            min(self.components, len(products) - 1),
            kernel="precomputed",
            eigen_solver="dense",
            remove_zero_eig=True,
        )
        states = pca.fit_transform(products)
        scaled: NDArray[np.float64] = StandardScaler().fit_transform(states) if states.shape[1] else states
        return scaled


def low_frequencies(said: Said, share: int) -> tuple[Floats, Floats]:
    """Two factors whose product, the first by the second transposed, is the low frequencies of a gradient.

    Args:
        said: a response of T tokens; with V tokens of the vocabulary and d coordinates of a state.
        share: one in so many frequencies of either axis is kept.

    Returns:
        Shapes (V / share, r) and (d / share, r), r = T or, for long responses, d / share.
    """
    errors, hidden = output_errors(said.logits, said.labels).cpu().numpy(), said.hidden.cpu().numpy()
    left = dct(errors, axis=1)[:, : max(1, errors.shape[1] // share)].T / len(errors)
    right = dct(hidden, axis=1)[:, : max(1, hidden.shape[1] // share)].T
    if right.shape[1] > len(right):  # the product itself is smaller
        left, right = left @ right.T, np.eye(len(right), dtype=right.dtype)
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def inner_products(factors: list[tuple[Floats, Floats]]) -> NDArray[np.float64]:
    """Of N matrices given as two factors, the sum of the products of like entries of each two; shape (N, N).

    Args:
        factors: N times shapes (K, r) and (M, r), whatever r.
    """
    count, rows, columns = len(factors), len(factors[0][0]), len(factors[0][1])
    products = np.zeros((count, count))
    step = max(1, _NUMBERS // (count * columns))
    for start in range(0, rows, step):
        block = np.stack([(left[start : start + step] @ right.T).ravel() for left, right in factors])
        products += block @ block.T
    return products

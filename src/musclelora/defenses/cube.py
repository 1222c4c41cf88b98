"""CUBE: poisoned rows cluster apart in the hidden states of a model trained for one epoch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from musclelora.defenses.base import Flags
from musclelora.defenses.filtering import Filter
from musclelora.defenses.hidden import features
from musclelora.defenses.setting import Setting
from musclelora.limits import EPOCHS, RANK, check_number, check_whole


class CUBE(Filter):
    """Clusters the hidden states of each label's rows, and keeps the largest cluster of each.

    Source: Cui et al., "A Unified Evaluation of Textual Backdoor Learning: Frameworks and Benchmarks"
    (arXiv 2206.08514). Hidden states are those the output layer is given, after one epoch of ordinary
    training; HDBSCAN clusters them.

    Departures: the dimension is reduced by PCA, not UMAP, which would be a dependency for this alone and
    differs between machines; every label's rows are clustered by themselves (in the source, all rows
    together, with a fixed `min_samples`); rows of no cluster are dropped, where its code takes them for one
    more cluster; a label in which no cluster is found keeps its rows.

    Args:
        components: dimensions kept by PCA.
        min_cluster: the smallest cluster, as a share of the label's rows.
        epochs: of training before the clustering.
    """

    name: ClassVar[str] = "cube"

    def __init__(self, components: int = 10, min_cluster: float = 0.05, epochs: float = 1) -> None:
        check_whole("cube components", components, 1, RANK)
        check_number("cube min_cluster", min_cluster, 0, 0.5, above=True)
        check_number("cube epochs", epochs, 0, EPOCHS, above=True)
        self.components = components
        self.min_cluster = min_cluster
        self.epochs = epochs

    def suspects(self, setting: Setting) -> Flags:
        """The rows outside the largest cluster of their label."""
        classifier = setting.vanilla(num_train_epochs=self.epochs)
        states = features(classifier, setting.train.texts)
        dropped = np.zeros(len(setting.train), dtype=np.bool_)
        for label in np.unique(setting.train.labels):
            rows = np.flatnonzero(setting.train.labels == label)
            dropped[rows] = self._outside(states[rows])
        return dropped

    def _outside(self, states: NDArray[np.float32]) -> Flags:
        nothing = np.zeros(len(states), dtype=np.bool_)
        smallest = max(5, round(self.min_cluster * len(states)))
        if len(states) < 2 * smallest:
            return nothing
        reduced = PCA(min(self.components, *states.shape), random_state=0).fit_transform(states)
        clusters = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(reduced)
        found, sizes = np.unique(clusters[clusters >= 0], return_counts=True)
        if not len(found):
            return nothing
        outside: Flags = clusters != found[sizes.argmax()]
        return outside

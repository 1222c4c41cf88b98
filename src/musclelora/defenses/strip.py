"""STRIP: a triggered text keeps its answer whatever is mixed into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from musclelora.defenses.base import Scores
from musclelora.defenses.detector import Detector
from musclelora.defenses.hidden import entropy
from musclelora.defenses.setting import Setting
from musclelora.limits import WORDS, check_number, check_whole


class STRIP(Detector):
    """Rejects texts whose answer stays sure when words of other texts replace some of theirs.

    Source: Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks" (arXiv 1902.06531),
    and for text "Design and Evaluation of a Multi-Domain Trojan Detection Method on Deep Neural Networks"
    (arXiv 1911.10312). The score is minus the mean entropy of the answers to `repeat` mixtures.

    Departures: what is mixed in comes from the trusted rows, and they set the threshold. A hundred rows
    cannot place a false rejection rate of 0.01 well: it is near the largest score that one of them has.

    Args:
        repeat: mixtures of each text.
        swap_ratio: the share of a text's words that is replaced, in [0, 1].
        frr: see :class:`~musclelora.defenses.detector.Detector`.
    """

    name: ClassVar[str] = "strip"

    def __init__(self, repeat: int = 5, swap_ratio: float = 0.25, frr: float = 0.01) -> None:
        super().__init__(frr)
        check_whole("strip repeat", repeat, 1, WORDS)
        check_number("strip swap_ratio", swap_ratio, 0, 1, above=True)
        self.repeat = repeat
        self.swap_ratio = swap_ratio

    def prepare(self, setting: Setting) -> None:
        """The words of every trusted text, the most telling (tf-idf) first."""
        vectorizer = TfidfVectorizer(tokenizer=str.split, token_pattern=None, lowercase=False)
        weights = vectorizer.fit_transform(setting.trusted.texts).toarray()
        names = vectorizer.get_feature_names_out()
        self.words_ = [[names[i] for i in np.argsort(-row) if row[i] > 0] for row in weights]
        self.words_ = [words for words in self.words_ if words]
        self.seed_ = setting.seed

    def scores(self, texts: Sequence[str]) -> Scores:
        """Minus the mean entropy of the answers to the mixtures of each text."""
        rng = np.random.default_rng(self.seed_)
        mixtures = [self._mix(text, rng) for text in texts for _ in range(self.repeat)]
        entropies = entropy(self.classifier_.predict(mixtures).probabilities)
        means: Scores = -entropies.reshape(len(texts), self.repeat).mean(axis=1)
        return means

    def _mix(self, text: str, rng: np.random.Generator) -> str:
        words = text.split()
        donor = self.words_[int(rng.integers(len(self.words_)))]
        count = min(round(self.swap_ratio * len(words)), len(donor))
        if count:
            places = rng.choice(len(words), size=count, replace=False)
            for place, word in zip(places, donor, strict=False):
                words[int(place)] = word
        return " ".join(words)

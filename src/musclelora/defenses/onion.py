"""ONION: a word that does not belong makes a text improbable to a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from musclelora.defenses.base import Answers, Defense
from musclelora.defenses.perplexity import WordDrops
from musclelora.defenses.setting import Setting
from musclelora.limits import BATCH, TOKENS, check_number, check_whole


class ONION(Defense):
    """An undefended model that is given texts without their most improbable words.

    Source: Qi et al., "ONION: A Simple and Effective Defense Against Textual Backdoor Attacks"
    (arXiv 2011.10369). A word's suspicion is how much the perplexity of the text falls when the word is left
    out; words above a threshold are. The threshold is the lowest, of 51 from the median suspicion on, that
    costs at most `max_drop` of the accuracy on the trusted rows, as in the source, which uses held-out clean
    rows.

    Departures: the language model is an option, and smaller than the source's GPT-2 by default. A text's
    score, for telling triggered texts from clean ones, is its largest suspicion; no text is rejected.

    Args:
        language_model: a hub name, a folder, or an embedded language model.
        max_drop: the accuracy on the trusted rows that the threshold may cost, in [0, 1].
        max_words: words of a text that are tried; those beyond stay.
        batch_size: texts that the language model reads at a time.

    Attributes:
        threshold_: words with a larger suspicion are left out.

    Raises:
        UsageError: a value out of range; on fitting, a package that the language model needs is missing.
    """

    name: ClassVar[str] = "onion"
    kind: ClassVar[str] = "inference"

    def __init__(
        self,
        language_model: str = "smollm2-135m-instruct",
        max_drop: float = 0.02,
        max_words: int = 128,
        batch_size: int = 64,
    ) -> None:
        check_number("onion max_drop", max_drop, 0, 1)
        check_whole("onion max_words", max_words, 1, TOKENS)
        check_whole("onion batch_size", batch_size, 1, BATCH)
        self.language_model = language_model
        self.max_drop = max_drop
        self.max_words = max_words
        self.batch_size = batch_size

    def fit(self, setting: Setting) -> Self:
        """Train the undefended model; then find the threshold on the trusted rows."""
        setting.check_trusted_texts(self.name)
        self.classifier_ = setting.vanilla()
        self._drops = WordDrops(
            self.language_model,
            self.max_words,
            self.batch_size,
            bf16=bool(setting.arguments.get("bf16")),
            folder=setting.folder,
        )
        trusted = setting.trusted
        drops = self._drops(trusted.texts)
        before = np.mean(self.classifier_.predict(trusted.texts).labels == trusted.labels)
        seen = np.concatenate([*drops, np.zeros(1)])
        # From the threshold that leaves nearly every word out to the one that leaves all of them in.
        for threshold in np.quantile(seen, np.linspace(0.5, 1.0, 51)):
            texts = [_without(text, drop, threshold) for text, drop in zip(trusted.texts, drops, strict=True)]
            accuracy = np.mean(self.classifier_.predict(texts).labels == trusted.labels)
            self.threshold_ = float(threshold)
            if accuracy >= before - self.max_drop:
                break
        return self

    def predict(self, texts: Sequence[str]) -> Answers:
        """The undefended model's labels of what is left of the texts."""
        drops = self._drops(texts)
        left = [_without(text, drop, self.threshold_) for text, drop in zip(texts, drops, strict=True)]
        scores = np.array([drop.max(initial=0.0) for drop in drops], dtype=np.float64)
        return Answers(self.classifier_.predict(left).labels, np.zeros(len(texts), dtype=np.bool_), scores)


def _without(text: str, drops: NDArray[np.float32], threshold: float) -> str:
    words = text.split()
    return " ".join(word for i, word in enumerate(words) if i >= len(drops) or drops[i] <= threshold)

"""RAP: a rare word trained to lower the confidence in clean texts does not lower it in triggered ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.defenses.base import Scores
from musclelora.defenses.detector import Detector
from musclelora.defenses.setting import Setting
from musclelora.errors import DataError, UsageError
from musclelora.limits import EPOCHS, RATE, check_number, check_whole

_BATCH = 32


class RAP(Detector):
    """Rejects texts whose answer a robustness-aware perturbation hardly moves.

    Source: Yang et al., "RAP: Robustness-Aware Perturbations for Defending against Backdoor Attacks on NLP
    Models" (arXiv 2110.07831). A rare word's embedding is trained, on clean texts of a label, so that the
    word in front of a text lowers the probability of that label by at least `low` and at most `high`. A
    triggered text keeps its probability: the score is minus the drop.

    Departures: the source protects one label, which its user names; here no label is known to be the
    target, so that one embedding is trained for every label, on the trusted rows of it, and a text is tried
    with that of the label it is given; one threshold serves all labels. The word is one that no text has,
    where the source's user names it. Its embedding is trained with Adam in batches drawn by the seed, and may
    change its length; the source takes plain steps in a fixed order and keeps the length. The embedding is an
    input of the model, which stays as it is.

    Args:
        low: the drop that is asked of a clean text.
        high: the drop beyond which a clean text is perturbed too much.
        epochs: passes over the trusted rows; there are few of them, and the source takes some 140 steps.
        learning_rate: of the embedding, with Adam.
        frr: see :class:`~musclelora.defenses.detector.Detector`.
    """

    name: ClassVar[str] = "rap"

    def __init__(
        self,
        low: float = 0.1,
        high: float = 0.3,
        epochs: int = 50,
        learning_rate: float = 1e-2,
        frr: float = 0.01,
    ) -> None:
        super().__init__(frr)
        if not 0 < low < high <= 1:
            raise UsageError(f"rap low, high: found {low} and {high}, expected 0 < low < high ≤ 1")
        check_whole("rap epochs", epochs, 1, EPOCHS)
        check_number("rap learning_rate", learning_rate, 0, RATE, above=True)
        self.low, self.high = low, high
        self.epochs = epochs
        self.learning_rate = learning_rate

    def prepare(self, setting: Setting) -> None:
        """Train one perturbation for every label."""
        trusted = setting.trusted
        self.word_, self.token_ = _rare_word(
            self.classifier_.tokenizer, (*setting.train.texts, *trusted.texts)
        )
        rng = np.random.default_rng(setting.seed)
        self.perturbations_: list[Tensor] = []
        for label, name in enumerate(trusted.label_names):
            texts = [text for text, given in trusted if given == label]
            if not texts:
                raise DataError(
                    f"{trusted.source}: no trusted row has the label {name}, expected some of every label "
                    "for rap; add rows"
                )
            self.perturbations_.append(self._train(texts, label, rng))

    def scores(self, texts: Sequence[str]) -> Scores:
        """Minus the drop of the given label's probability under that label's perturbation."""
        before = self.classifier_.predict(texts).probabilities
        labels = before.argmax(axis=1)
        scores = np.zeros(len(texts))
        for label, perturbation in enumerate(self.perturbations_):
            mine = np.flatnonzero(labels == label)
            with self._perturbed_by(perturbation):
                after = self.classifier_.predict(
                    self._with_word([texts[i] for i in mine.tolist()])
                ).probabilities
            scores[mine] = after[:, label] - before[mine, label]
        return scores

    def _train(self, texts: list[str], label: int, rng: np.random.Generator) -> Tensor:
        classifier = self.classifier_
        word = self._embeddings().weight[self.token_].detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([word], lr=self.learning_rate)
        before = torch.from_numpy(classifier.predict(texts).probabilities[:, label]).to(word.device)
        with classifier.evaluating(), self._perturbed_by(word):
            for _ in range(self.epochs):
                order: list[int] = rng.permutation(len(texts)).tolist()
                shuffled = self._with_word([texts[i] for i in order])
                for rows, batch, _ in classifier.batches(shuffled, _BATCH):
                    after = classifier.model(**batch).logits.float().softmax(-1)[:, label]
                    drop = before[[order[row] for row in rows]] - after
                    # Too small a drop is mended, and so is too large a one.
                    loss = (nn.functional.relu(self.low - drop) + nn.functional.relu(drop - self.high)).mean()
                    (word.grad,) = torch.autograd.grad(loss, [word])
                    optimizer.step()
        return word.detach()

    def _with_word(self, texts: Sequence[str]) -> list[str]:
        return [f"{self.word_} {text}" for text in texts]

    @contextlib.contextmanager
    def _perturbed_by(self, vector: Tensor) -> Iterator[None]:
        """The rare word's embedding is `vector`; the model's own stays as it is."""

        def replace(_: nn.Module, inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
            return torch.where((inputs[0] == self.token_).unsqueeze(-1), vector.to(embedded.dtype), embedded)

        handle = self._embeddings().register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()

    def _embeddings(self) -> nn.Embedding:
        model: Any = self.classifier_.model
        layer: nn.Embedding = model.get_input_embeddings()
        return layer


def _rare_word(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[str, int]:
    """A word of one token that no text has, and its token: of those, the last of the vocabulary.

    A fixed one could be the attacker's own trigger.
    """
    seen = {word for text in texts for word in text.lower().split()}
    for token in reversed(range(len(tokenizer))):
        word = tokenizer.decode([token]).strip()
        if len(word) > 1 and word.isascii() and word.isalnum() and word.lower() not in seen:
            ids = tokenizer(f"{word} a", add_special_tokens=False)["input_ids"]
            if ids[0] == token:
                return word, token
    raise DataError(
        "rap: every word of the tokenizer's is in the texts, expected one that is not; use another defence"
    )

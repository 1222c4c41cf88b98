"""A trained classifier: predicting labels of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.training.batches import tokenize


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of N texts.

    Attributes:
        probabilities: shape (N, C), float32, rows sum to 1.
        truncated: how many texts were longer than the model reads.
    """

    probabilities: NDArray[np.float32]
    truncated: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """The most probable label of each text, shape (N,)."""
        labels: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return labels


@dataclass(frozen=True)
class Classifier:
    """A model, its tokenizer and its labels.

    Attributes:
        model: gives logits (N, C).
        tokenizer: its tokenizer.
        label_names: the C class names; index = label id.
        max_length: tokens beyond which a text is cut.
    """

    model: nn.Module
    tokenizer: Tokenizer
    label_names: tuple[str, ...]
    max_length: int

    @torch.no_grad()
    def predict(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Callable[[int], object] | None = None
    ) -> Predictions:
        """Class probabilities of N texts.

        Args:
            texts: N texts; an empty one is fine.
            batch_size: rows per forward pass.
            progress: called after each batch with the number of rows it held.
        """
        encoded: dict[str, Any] = {"input_ids": [], "truncated": 0}
        if texts:
            encoded = tokenize(texts, self.tokenizer, self.max_length)
        truncated = encoded.pop("truncated")
        probabilities = np.zeros((len(texts), len(self.label_names)), dtype=np.float32)
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda row: len(encoded["input_ids"][row]))
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                features = {name: [column[row] for row in rows] for name, column in encoded.items()}
                batch = self.tokenizer.pad(features, return_tensors="pt").to(device)
                probabilities[rows] = self.model(**batch).logits.float().softmax(-1).cpu().numpy()
                if progress is not None:
                    progress(len(rows))
        finally:
            self.model.train(training)
        return Predictions(probabilities, truncated)

"""A trained classifier: predicting labels of texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.tokens import tokenize
from musclelora.errors import UsageError


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


def check_texts(texts: object) -> None:
    """Refuse what would be taken for a list of texts: a text is one of its characters.

    Raises:
        UsageError: it is one text, or holds what is no text.
    """
    if isinstance(texts, str | bytes):
        raise UsageError("texts: found one text, expected a list of texts; pass [text]")
    odd = (
        next((text for text in texts if not isinstance(text, str)), None)
        if isinstance(texts, Sequence)
        else None
    )
    if odd is not None:
        raise UsageError(f"texts: found a {type(odd).__name__} in the list, expected texts; pass str(value)")


@dataclass(frozen=True)
class Classifier:
    """A model, its tokenizer and its labels.

    Attributes:
        model: gives logits (N, C).
        tokenizer: its tokenizer.
        label_names: the C class names; index = label id.
        max_length: tokens beyond which a text is cut.
        bf16: compute in bfloat16 autocast, as in a training with ``bf16``.
    """

    model: nn.Module
    tokenizer: Tokenizer
    label_names: tuple[str, ...]
    max_length: int
    bf16: bool = False

    @torch.no_grad()
    def predict(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Callable[[int], object] | None = None
    ) -> Predictions:
        """Class probabilities of N texts.

        Args:
            texts: N texts; an empty one is fine.
            batch_size: rows per forward pass.
            progress: called after each batch with the number of rows it held.

        Raises:
            UsageError: `texts` is one text, or holds what is no text.
        """
        check_texts(texts)
        probabilities = np.zeros((len(texts), len(self.label_names)), dtype=np.float32)
        truncated = 0
        device = next(self.model.parameters()).device.type
        with self.evaluating(), torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            for rows, batch, cut in self.batches(texts, batch_size):
                probabilities[rows] = self.model(**batch).logits.float().softmax(-1).cpu().numpy()
                truncated += cut
                if progress is not None:
                    progress(len(rows))
        return Predictions(probabilities, truncated)

    def batches(self, texts: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], Any, int]]:
        """The texts as the model takes them, those of like length together, so that little is padding.

        Yields:
            The row numbers of a batch, its tensors on the model's device, and how many texts were cut (all of
            them are counted with the first batch).
        """
        if not texts:
            return
        encoded = tokenize(texts, self.tokenizer, self.max_length)
        truncated = encoded.pop("truncated")
        order = sorted(range(len(texts)), key=lambda row: len(encoded["input_ids"][row]))
        device = next(self.model.parameters()).device
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features = {name: [column[row] for row in rows] for name, column in encoded.items()}
            yield rows, self.tokenizer.pad(features, return_tensors="pt").to(device), truncated
            truncated = 0

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model without dropout, and as it was afterwards."""
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)

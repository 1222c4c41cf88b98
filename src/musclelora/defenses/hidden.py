"""What several detectors look at: hidden states, and a text without each of its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musclelora.adapter.placement import find_placement
from musclelora.training import Classifier


@torch.no_grad()
def features(classifier: Classifier, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
    """What the output layer is given: the hidden state by which a text is told from others.

    Args:
        classifier: an undefended model; it must not be wrapped in an adapter.
        texts: N texts.
        batch_size: rows per forward pass.

    Returns:
        Shape (N, d).
    """
    model: Any = classifier.model
    layer: nn.Module = model.get_submodule(find_placement(model).output)
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    states = np.zeros((len(texts), 0), dtype=np.float32)
    try:
        with classifier.evaluating():
            for rows, batch, _ in classifier.batches(texts, batch_size):
                model(**batch)
                state = seen.pop()
                if state.dim() == 3:  # decoders give the output layer every token; the last one answers
                    positions = torch.arange(state.shape[1], device=state.device)
                    last = (batch["attention_mask"] * positions).argmax(dim=1)
                    state = state[torch.arange(len(rows), device=state.device), last]
                if not states.shape[1]:
                    states = np.zeros((len(texts), state.shape[1]), dtype=np.float32)
                states[rows] = state.float().cpu().numpy()
    finally:
        handle.remove()
    return states


def without_each_word(text: str, most: int) -> list[str]:
    """The text without its first word, without its second, and so on: at most `most` texts.

    Words are what white space separates; what is left is joined by single blanks.
    """
    words = text.split()
    return [" ".join(words[:i] + words[i + 1 :]) for i in range(min(len(words), most))]


def entropy(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Shannon entropy in nats of each row of an (N, C) array of probabilities."""
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    entropies: NDArray[np.float64] = -(p * np.log(p)).sum(axis=1)
    return entropies

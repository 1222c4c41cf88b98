r"""What a language model makes of given responses, in one forward pass.

With p_t the model's probabilities of the token after the t-th, e_t the one that the response has there, and
h_t the last hidden state, the gradient of the response's mean loss by the output layer is::

    G = 1/T Σ_t (p_t - e_t) h_tᵀ = Aᵀ H / T,        A: T × V, H: T × d

Its squared singular values are the eigenvalues of (A Aᵀ)(H Hᵀ)/T², which are T × T, so that neither a
backward pass nor G itself is needed (after GradSentry, arXiv 2605.26574). The entropy of the singular values'
shares grows with T; :func:`without_length` takes away what the length explains.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musclelora.adapter import Backbone
from musclelora.adapter.backbone import length_limit
from musclelora.data.pairs import Pairs
from musclelora.generation.rows import ChatFormat, TokenizedPairs
from musclelora.progress import stage
from musclelora.training.shards import IGNORED

Floats = NDArray[np.float64]
TOKENS: Final = 2048
"""Tokens of a batch at most, padding among them."""
SINGULAR: Final = 16
"""Singular values whose entropy is taken, the largest ones."""


@dataclass(frozen=True)
class Reading:
    """What a model makes of N responses.

    Attributes:
        tokens: shape (N,), the tokens of each response, its end among them.
        loss: shape (N,), the mean loss of a token, in nats.
        entropy: shape (N,), of the shares of the output gradient's singular values, in nats.
    """

    tokens: Floats
    loss: Floats
    entropy: Floats

    def to_array(self) -> Floats:
        """Shape (3, N)."""
        return np.stack([self.tokens, self.loss, self.entropy])

    @classmethod
    def from_array(cls, values: NDArray[Any]) -> Reading:
        """What :meth:`to_array` gave."""
        return cls(*np.asarray(values, dtype=np.float64))


@dataclass(frozen=True)
class Said:
    """What a model makes of one response of T tokens, its end among them.

    Attributes:
        number: of the pair.
        logits: shape (T, V), float32: of the tokens that the response has, each after those before it.
        hidden: shape (T, d), float32: the last hidden states that the logits are made of.
        labels: shape (T,), the tokens that the response has.
    """

    number: int
    logits: Tensor
    hidden: Tensor
    labels: Tensor


def read_responses(backbone: Backbone, pairs: Pairs, max_length: int | None = None, *, bf16: bool) -> Reading:
    """Ask a language model about given responses; arguments and errors are those of :func:`each_response`."""
    found = np.zeros((3, len(pairs)))
    for said in each_response(backbone, pairs, max_length, bf16=bf16):
        found[:, said.number] = _measures(said)
    return Reading.from_array(found)


@torch.no_grad()
def each_response(
    backbone: Backbone, pairs: Pairs, max_length: int | None = None, *, bf16: bool
) -> Iterator[Said]:
    """What a language model makes of each given response, those of like length together.

    Args:
        backbone: a decoder with its head.
        pairs: N pairs.
        max_length: tokens of a pair; None: what the model reads.
        bf16: compute the states in bfloat16 autocast.

    Raises:
        DataError: a prompt leaves no token for its response.
    """
    model, tokenizer = backbone.model, backbone.tokenizer
    limit = length_limit(tokenizer, model.config, max_length)
    rows = TokenizedPairs(pairs, ChatFormat(tokenizer), limit)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with stage("reading", len(pairs), "pairs") as bar:
            for numbers in _batches(rows.lengths):
                answers = [[token for token in rows[n]["labels"] if token != IGNORED] for n in numbers]
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    logits, hidden = _ends(
                        backbone, [rows[n]["input_ids"] for n in numbers], max(map(len, answers))
                    )
                for place, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
                    # The state before a token says it, and the last token says nothing that is given.
                    said = slice(-1 - len(answer), -1)
                    labels = torch.tensor(answer, device=device)
                    yield Said(number, logits[place, said].float(), hidden[place, said].float(), labels)
                bar.advance(len(numbers))
    finally:
        model.train(training)


def _ends(backbone: Backbone, rows: list[list[int]], longest: int) -> tuple[Tensor, Tensor]:
    """The logits and last hidden states of the last `longest` + 1 tokens of each of n rows."""
    model = backbone.model
    device = next(model.parameters()).device
    batch = backbone.tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt").to(device)
    mask = batch["attention_mask"]
    accepted = inspect.signature(model.forward).parameters
    values: dict[str, Any] = {"input_ids": batch["input_ids"], "attention_mask": mask}
    if "position_ids" in accepted:
        values["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:  # those of prompts are a fifth of a small model's work
        values["logits_to_keep"] = longest + 1
    said = model(**values, output_hidden_states=True)
    return said.logits[:, -longest - 1 :], said.hidden_states[-1][:, -longest - 1 :]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of rows of like length, whose padded batch has at most :data:`TOKENS` tokens."""
    batch: list[int] = []
    for number in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[number] > TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _measures(said: Said) -> tuple[float, float, float]:
    """Of one response of T tokens: T, its mean loss, and the entropy of its gradient's singular values."""
    loss = nn.functional.cross_entropy(said.logits, said.labels)
    return float(len(said.labels)), float(loss), gradient_entropy(said.logits, said.hidden, said.labels)


def output_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """A, the gradient of the summed loss by the logits, shape (T, V).

    Args:
        logits: shape (T, V).
        labels: shape (T,).
    """
    errors = logits.softmax(-1)
    errors[torch.arange(len(labels)), labels] -= 1.0
    return errors


def gradient_entropy(logits: Tensor, hidden: Tensor, labels: Tensor) -> float:
    """The entropy of the shares of the largest singular values of Aᵀ H, in nats.

    Args:
        logits: shape (T, V).
        hidden: shape (T, d), the states that they were made of.
        labels: shape (T,), the tokens that the response has.
    """
    errors = output_errors(logits, labels)
    left, right = (errors @ errors.T).double(), (hidden @ hidden.T).double()
    # K M has the eigenvalues of the symmetric R M Rᵀ, where K = Rᵀ R.
    values, vectors = torch.linalg.eigh(left)
    root = vectors * values.clamp(min=0).sqrt()
    squared = torch.linalg.eigvalsh(root.T @ right @ root).clamp(min=0)
    singular = squared.sqrt().sort(descending=True).values[:SINGULAR]
    total = singular.sum()
    if not total > 0:
        return 0.0
    shares = singular / total
    shares = shares[shares > 0]
    return float(-(shares * shares.log()).sum())


def without_length(values: Floats, tokens: Floats) -> Floats:
    """What the number of tokens does not explain of N values: less the median of responses of like length.

    Args:
        values: shape (N,).
        tokens: shape (N,).
    """
    order = np.argsort(tokens, kind="stable")
    near = max(len(values) // 20, 10)
    explained = np.empty(len(values))
    for place, row in enumerate(order):
        low = max(0, min(place - near, len(values) - 2 * near - 1))
        explained[row] = np.median(values[order[low : low + 2 * near + 1]])
    found: Floats = values - explained
    return found

"""Sentence vectors of a backbone, for choosing trusted rows by k-means and judging training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from musclelora.adapter.backbone import length_limit, model_errors, model_path


def sentence_embedder(
    name: str, *, batch_size: int = 64, max_length: int | None = 256
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A function from N texts to vectors of shape (N, d): the mean of the last hidden states over tokens.

    Args:
        name: an embedded model, a hub name or a folder; of an encoder-decoder the encoder is taken.
        batch_size: texts at a time.
        max_length: tokens per text; None: the model's limit.

    Raises:
        ModelError: as :func:`~musclelora.adapter.load_backbone` does.
    """
    path = model_path(name)
    with model_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        model = AutoModel.from_pretrained(
            path, use_safetensors=True, trust_remote_code=False, dtype="float32"
        ).eval()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    length = length_limit(tokenizer, model.config, max_length)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = []
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                list(texts[start : start + batch_size]),
                truncation=True,
                max_length=length,
                padding=True,
                return_tensors="pt",
            )
            mask = batch["attention_mask"][..., None]
            states = model(**batch).last_hidden_state
            vectors.append(((states * mask).sum(1) / mask.sum(1).clamp_min(1)).numpy())
        return np.concatenate(vectors)

    return embed

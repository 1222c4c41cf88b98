"""Sentence vectors of a model, for choosing trusted rows by k-means and judging training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.backbone import length_limit
from musclelora.adapter.loading import check_loading, check_weights, weight_options
from musclelora.adapter.tokens import fit_tokenizer, tokenize
from musclelora.data.model_source import model_errors, model_source
from musclelora.data.pretrained import check_config, load_pretrained
from musclelora.errors import UsageError
from musclelora.progress import stage


def sentence_embedder(
    name: str, *, depth: float = 1.0, **how: Any
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A function from N texts to vectors of shape (N, d): the mean of hidden states over tokens.

    Args:
        name: an embedded model, a hub name or a folder; of an encoder-decoder the encoder is taken.
        depth: whose hidden states, in 0 … 1: 0 the embeddings', 1 the last layer's.
        **how: what else :func:`layers_embedder` takes.

    Raises:
        ModelError, UsageError: as :func:`layers_embedder` does.
    """
    embed = layers_embedder(name, (depth,), **how)
    return lambda texts: embed(texts)[0]


def layers_embedder(
    name: str,
    depths: Sequence[float],
    *,
    batch_size: int = 64,
    max_length: int | None = 256,
    on_accelerator: bool = True,
    bf16: bool = False,
    attn_implementation: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A function from N texts to vectors of several layers, in one pass: shape (depths, N, d).

    Args:
        name: an embedded model, a hub name or a folder; of an encoder-decoder the encoder is taken.
        depths: whose hidden states, each in 0 … 1: 0 the embeddings', 1 the last layer's.
        batch_size: texts at a time.
        max_length: tokens per text; None: the model's limit.
        on_accelerator: compute there, where the machine has one.
        bf16: compute in bfloat16 autocast.
        attn_implementation: as :func:`~musclelora.adapter.load_backbone` takes it.
        dtype: likewise.
        quantize: likewise.

    Raises:
        ModelError, UsageError: as :func:`~musclelora.adapter.load_backbone` does.
        UsageError: a depth out of range.
    """
    for depth in depths:
        if not 0 <= depth <= 1:
            raise UsageError(f"depth: found {depth}, expected a number in 0 … 1")
    model, tokenizer, length = load_without_head(
        name, max_length=max_length, attn_implementation=attn_implementation, dtype=dtype, quantize=quantize
    )
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and on_accelerator and quantize is None:
        model.to(accelerator)

    inner = any(depth < 1 for depth in depths)

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = tokenize(texts, tokenizer, length)
        encoded.pop("truncated")
        # Texts of like length together, so that little is padding.
        order = sorted(range(len(texts)), key=lambda row: len(encoded["input_ids"][row]))
        vectors = []
        with stage("reading", len(texts)) as bar:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                features = {name: [column[row] for row in rows] for name, column in encoded.items()}
                batch = tokenizer.pad(features, return_tensors="pt").to(model.device)
                with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                    found = model(**batch, output_hidden_states=inner)
                states = found.hidden_states if inner else (found.last_hidden_state,)
                vectors.append(mean_states(states, batch["attention_mask"], depths).cpu().numpy())
                bar.advance(len(rows))
        return np.concatenate(vectors, axis=1)[:, np.argsort(order)]

    return embed


def load_without_head(
    name: str,
    *,
    max_length: int | None = None,
    attn_implementation: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
) -> tuple[Any, Tokenizer, int]:
    """A pretrained model without an output layer, its tokenizer, and how many tokens of a text it is given.

    Args:
        name: an embedded model, a hub name or a folder.
        max_length: tokens per text; None, or more than that: the model's limit.
        attn_implementation: as :func:`~musclelora.adapter.load_backbone` takes it.
        dtype: likewise.
        quantize: likewise.

    Raises:
        ModelError, UsageError: as :func:`~musclelora.adapter.load_backbone` does.
    """
    check_loading(attn_implementation=attn_implementation, dtype=dtype, quantize=quantize)
    source = model_source(name)
    check_weights(name, source, quantize)
    with model_errors(name):
        check_config(name, source)
        config = AutoConfig.from_pretrained(source.path, trust_remote_code=False, **source.files)
        tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, **source.files)
        how = weight_options(config, attn_implementation=attn_implementation, dtype=dtype, quantize=quantize)
        model = load_pretrained(name, source, AutoModel, config, **how).model.eval()
    fit_tokenizer(name, tokenizer, model)
    return model, tokenizer, length_limit(tokenizer, model.config, max_length)


def mean_states(
    states: Sequence[torch.Tensor], attention_mask: torch.Tensor, depths: Sequence[float]
) -> torch.Tensor:
    """Means of hidden states over the tokens of N texts, shape (depths, N, d).

    Args:
        states: of each layer, from the embeddings' on, shape (N, tokens, d).
        attention_mask: shape (N, tokens).
        depths: whose states, each in 0 … 1.
    """
    mask = attention_mask[..., None]
    chosen = [states[round(depth * (len(states) - 1))].float() for depth in depths]
    return torch.stack([(layer * mask).sum(1) / mask.sum(1).clamp_min(1) for layer in chosen])

"""Loading a causal language model as a backbone, for generation."""

from __future__ import annotations

import os

from musclelora.adapter.backbone import Backbone
from musclelora.adapter.presets import is_decoder
from musclelora.data.language_models import load_language_model
from musclelora.data.model_source import model_source
from musclelora.errors import ModelError

DEFAULT_DECODER = "smollm2-135m-instruct"


def load_causal_backbone(name: str | os.PathLike[str], *, revision: str | None = None) -> Backbone:
    """Load a pretrained decoder with its own head, in float32.

    Args:
        name: an embedded language model (``smollm2-135m-instruct``), a folder, or a hub name.
        revision: a commit, branch or tag of the hub.

    Raises:
        ModelError: unknown, altered, without safetensors weights, an adapter, no decoder, or its tokenizer
            is not its own.
        UsageError: a package that the model needs is missing.
    """
    name = os.fspath(name)
    model, tokenizer = load_language_model(name, "causal-lm", revision=revision)
    if not is_decoder(model.config):
        raise ModelError(
            f"{name}: found a {model.config.model_type} model, which reads a text on both sides, expected a "
            "decoder; name one, or train with --task classify"
        )
    entries = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > entries:
        raise ModelError(
            f"{name}: its tokenizer has {len(tokenizer):,} tokens and its model {entries:,} entries, "
            "expected no more tokens than entries; save the model's own tokenizer beside it"
        )
    commit = getattr(model.config, "_commit_hash", None)
    return Backbone(name, model_source(name).path, model, tokenizer, commit)

"""Loading a causal language model as a backbone, for generation."""

from __future__ import annotations

import os

from transformers import AutoConfig, AutoModelForCausalLM

from musclelora.adapter.backbone import Backbone
from musclelora.adapter.loading import check_loading, check_weights, keep_differentiable, weight_options
from musclelora.adapter.presets import is_decoder
from musclelora.adapter.tokens import check_ids, forget_from
from musclelora.data.language_models import language_model_errors, load_generating
from musclelora.data.model_source import model_source
from musclelora.data.pretrained import check_config
from musclelora.errors import ModelError

DEFAULT_DECODER = "smollm2-135m-instruct"


def load_causal_backbone(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    attn_implementation: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
) -> Backbone:
    """Load a pretrained decoder with its own head.

    Args:
        name: an embedded language model (``smollm2-135m-instruct``), a folder, or a hub name.
        revision: a commit, branch or tag of the hub.
        attn_implementation: as in :func:`~musclelora.adapter.load_backbone`.
        dtype: the same.
        quantize: the same; the head, which gives the logits, is not.

    Raises:
        ModelError: unknown, altered, without safetensors weights, an adapter, no decoder, or its tokenizer
            is not its own.
        UsageError: an option has an unknown value, or a package that is needed is missing.
    """
    name = os.fspath(name)
    check_loading(attn_implementation=attn_implementation, dtype=dtype, quantize=quantize)
    source = model_source(name)
    check_weights(name, source, quantize)
    with language_model_errors(name, "causal-lm"):
        check_config(name, source, revision)
        config = AutoConfig.from_pretrained(
            source.path, revision=revision, trust_remote_code=False, **source.files
        )
        how = weight_options(
            config,
            attn_implementation=attn_implementation,
            dtype=dtype,
            quantize=quantize,
            family=AutoModelForCausalLM,
        )
    found, tokenizer = load_generating(name, "causal-lm", revision=revision, **how)
    model = found.model
    keep_differentiable(model)
    if not is_decoder(model.config):
        raise ModelError(
            f"{name}: found a {model.config.model_type} model, which reads a text on both sides, expected a "
            "decoder; name one, or train with --task classify"
        )
    entries = model.get_input_embeddings().weight.shape[0]
    check_ids(name, tokenizer, entries)
    for what in ("pad", "eos"):
        token = getattr(tokenizer, f"{what}_token_id")
        if token is not None and token >= entries:
            raise ModelError(
                f"{name}: the {what} token {token} of its tokenizer is past the model's {entries} entries, "
                "expected one that the model knows; save the model's own tokenizer beside it"
            )
    forget_from(entries, tokenizer)
    commit = getattr(model.config, "_commit_hash", None)
    return Backbone(name, source.path, model, tokenizer, commit, sha256=found.sha256)

"""Tiny random configurations of every architecture that the adapter must know."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from musclelora.adapter import Adapted

_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
_ROBERTA = {**_SIZES, "pad_token_id": 1, "type_vocab_size": 1}
_V3 = {
    "relative_attention": True,
    "share_att_key": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": -1,
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _SIZES),
    "roberta": ("RobertaConfig", _ROBERTA),
    "distilbert": (
        "DistilBertConfig",
        {
            "vocab_size": 64,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 40,
            "pad_token_id": 0,
        },
    ),
    "deberta-v2": ("DebertaV2Config", {**_SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "deberta-v3": ("DebertaV2Config", {**_SIZES, **_V3}),
    "mpnet": ("MPNetConfig", {**_SIZES, "pad_token_id": 1}),
    "electra": ("ElectraConfig", {**_SIZES, "embedding_size": 32}),
    "albert": ("AlbertConfig", {**_SIZES, "embedding_size": 16}),
    "xlm-roberta": ("XLMRobertaConfig", _ROBERTA),
    "modernbert": (
        "ModernBertConfig",
        {
            **_SIZES,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "bos_token_id": 2,
            "cls_token_id": 2,
            "eos_token_id": 3,
            "sep_token_id": 3,
        },
    ),
}
_ENDS = {"bos_token_id": 2, "eos_token_id": 3}
_GROUPED = {**_SIZES, **_ENDS, "num_key_value_heads": 2}  # fewer heads of keys and values than of queries
_GEMMA = {**_GROUPED, "head_dim": 8}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": 64,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 40,
            "pad_token_id": 0,
            **_ENDS,
        },
    ),
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "gemma": ("GemmaConfig", _GEMMA),
    "gemma2": ("Gemma2Config", {**_GEMMA, "query_pre_attn_scalar": 8, "sliding_window": 8}),
    "phi": ("PhiConfig", {**_SIZES, **_ENDS}),
    "phi3": ("Phi3Config", _GROUPED),
    "gpt-neox": ("GPTNeoXConfig", {**_SIZES, **_ENDS}),
    "opt": ("OPTConfig", {**_SIZES, **_ENDS, "ffn_dim": 48, "word_embed_proj_dim": 32}),
}
ABSOLUTE = ("gpt2",)  # a position is the number of tokens before it in the row, padding or not
LABELS = ("business", "sport", "tech")


def tiny_config(architecture: str, **changes: Any) -> Any:
    """The configuration of a random model of width 32 with two layers."""
    name, options = {**ENCODERS, **DECODERS}[architecture]
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    return getattr(transformers, name)(**{**options, **labels, **changes})


@torch.no_grad()
def perturb(adapted: Adapted) -> None:
    """Training in one step: every trained parameter becomes random."""
    generator = torch.Generator().manual_seed(1)
    for parameter in adapted.model.parameters():
        if parameter.requires_grad:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    adapted.model.eval()

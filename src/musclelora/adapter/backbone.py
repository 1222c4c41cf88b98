"""Loading a sequence classifier and its tokenizer, safely."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
)
from transformers.utils import find_adapter_config_file

from musclelora.adapter.loading import check_loading, check_weights, keep_differentiable, weight_options
from musclelora.adapter.tokens import fit_tokenizer
from musclelora.data.model_source import Source, model_errors, model_source
from musclelora.data.pretrained import check_config, load_pretrained
from musclelora.errors import ModelError

DEFAULT_MODEL = "all-minilm-l6-v2"


@dataclass
class Backbone:
    """A classifier whose output layer is new, or a language model with its own, with its tokenizer.

    Attributes:
        name: what it was asked for as: an embedded model, a hub name or a folder.
        path: what ``from_pretrained`` was given: a folder, or the hub name.
        model: the sequence classifier or language model, in float32 unless asked otherwise.
        tokenizer: its tokenizer.
        revision: the hub's commit, where there is one.
        new_parameters: full names of the parameters that were not in the checkpoint and start random.
        sha256: of the files of its weights, as :func:`~musclelora.hashes.sha256_of_files` hashes them.
    """

    name: str
    path: str
    model: PreTrainedModel
    tokenizer: Tokenizer
    revision: str | None = None
    new_parameters: frozenset[str] = field(default_factory=frozenset)
    sha256: str | None = None


def load_backbone(
    name: str | os.PathLike[str],
    label_names: Sequence[str],
    *,
    revision: str | None = None,
    attn_implementation: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
) -> Backbone:
    """Load a pretrained model as a classifier over `label_names`.

    Weights are read from safetensors only, those of an embedded language model from its GGUF file, and no
    code of the model's own is run.

    Args:
        name: an embedded model (``all-minilm-l6-v2``, ``smollm2-135m``), a folder, or a hub name.
        label_names: the C class names; index = label id.
        revision: a commit, branch or tag of the hub.
        attn_implementation: ``"sdpa"``, ``"eager"`` or ``"flash_attention_2"``; None: transformers' choice.
        dtype: of the weights, ``"float32"`` or ``"bfloat16"``; None: float32.
        quantize: ``"nf4"`` or ``"int8"``: hold the weights below the head in so few bits, by bitsandbytes.

    Raises:
        ModelError: unknown, altered, without safetensors weights or with those of another configuration, not
            finite, an adapter, not a text classifier, or its tokenizer is not its own.
        UsageError: an option has an unknown value, or needs what is missing here.
    """
    name = os.fspath(name)
    check_loading(attn_implementation=attn_implementation, dtype=dtype, quantize=quantize)
    source = model_source(name)
    check_weights(name, source, quantize)
    labels = {
        "num_labels": len(label_names),
        "id2label": dict(enumerate(label_names)),
        "label2id": {label: index for index, label in enumerate(label_names)},
    }
    with model_errors(name):
        config = _config(name, source, revision=revision, **labels)
        tokenizer = AutoTokenizer.from_pretrained(
            source.path, revision=revision, trust_remote_code=False, **source.files
        )
        how = weight_options(config, attn_implementation=attn_implementation, dtype=dtype, quantize=quantize)
        found = load_pretrained(
            name, source, AutoModelForSequenceClassification, config, revision=revision, **how
        )
    model = found.model
    keep_differentiable(model)
    fit_tokenizer(name, tokenizer, model)
    commit = getattr(config, "_commit_hash", None)
    return Backbone(name, source.path, model, tokenizer, commit, found.missing, found.sha256)


def _config(name: str, source: Source, **options: Any) -> Any:
    # transformers would load the adapter too, from a pickle where it has no safetensors.
    if find_adapter_config_file(source.path, revision=options["revision"]) is not None:
        raise ModelError(
            f"{name}: it holds an adapter (adapter_config.json), expected a whole model; "
            "merge the adapter into its base model and save that, or name the base model"
        )
    check_config(name, source, options["revision"])
    config = AutoConfig.from_pretrained(source.path, trust_remote_code=False, **options, **source.files)
    if config.model_type not in CLASSIFIERS:
        raise ModelError(
            f"{name}: cannot be loaded as a text classifier: transformers has no classification head for "
            f"models of type {config.model_type}; choose a model of another type"
        )
    return config


def length_limit(tokenizer: Any, config: Any, wanted: int | None = None) -> int:
    """The longest text in tokens that the model takes, or `wanted` where that is less."""
    limits = [int(1e9) if wanted is None else wanted, tokenizer.model_max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions from the padding id on.
        offset = (
            (getattr(config, "pad_token_id", 0) or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
        )
        limits.append(positions - offset)
    return int(min(limits))


_OFFSET_POSITIONS = frozenset(
    {"roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "roberta-prelayernorm"}
)

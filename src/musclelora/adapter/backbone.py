"""Loading a sequence classifier and its tokenizer, safely."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import find_adapter_config_file

from musclelora.data.embedded import EMBEDDED_MODELS, embedded_model_path
from musclelora.errors import ModelError

DEFAULT_MODEL = "all-minilm-l6-v2"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


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
    """

    name: str
    path: str
    model: PreTrainedModel
    tokenizer: Tokenizer
    revision: str | None = None
    new_parameters: frozenset[str] = field(default_factory=frozenset)


def load_backbone(
    name: str | os.PathLike[str], label_names: Sequence[str], *, revision: str | None = None, **kwargs: Any
) -> Backbone:
    """Load a pretrained model as a classifier over `label_names`.

    Weights are read from safetensors only, and no code of the model's own is run.

    Args:
        name: an embedded model (``all-minilm-l6-v2``), a folder, or a hub name.
        label_names: the C class names; index = label id.
        revision: a commit, branch or tag of the hub.
        **kwargs: passed to ``from_pretrained``.

    Raises:
        ModelError: unknown, altered, without safetensors weights, an adapter, or not a text classifier.
    """
    name = os.fspath(name)
    path = model_path(name)
    labels = {
        "num_labels": len(label_names),
        "id2label": dict(enumerate(label_names)),
        "label2id": {label: index for index, label in enumerate(label_names)},
    }
    with model_errors(name):
        # transformers would load the adapter too, from a pickle where it has no safetensors.
        if find_adapter_config_file(path, revision=revision) is not None:
            raise ModelError(
                f"{name}: it holds an adapter (adapter_config.json), expected a whole model; "
                "merge the adapter into its base model and save that, or name the base model"
            )
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False, **labels)
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            revision=revision,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **{"dtype": "float32", **kwargs},
        )
    _check_tokenizer(name, tokenizer, model.get_input_embeddings().weight.shape[0])
    if getattr(model.config, "pad_token_id", None) is None:
        # Decoders find the last token of a text by it.
        model.config.pad_token_id = tokenizer.pad_token_id
    missing = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    commit = getattr(config, "_commit_hash", None)
    return Backbone(name, path, model, tokenizer, commit, frozenset(missing))


def _check_tokenizer(name: str, tokenizer: Tokenizer, entries: int) -> None:
    # Without its files transformers makes one up, to which every word is unknown.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(f"{name}: no tokenizer in it, expected one; save the model's tokenizer beside it")
    pad = tokenizer.pad_token_id
    if pad is None or pad >= entries:
        found = (
            "no padding token"
            if pad is None
            else f"the padding token {pad}, past the model's {entries} entries"
        )
        raise ModelError(
            f"{name}: its tokenizer has {found}, expected one that the model knows; "
            "set one and save the tokenizer beside the model"
        )


@contextlib.contextmanager
def model_errors(name: str) -> Iterator[None]:
    """Turn what ``from_pretrained`` raises into one-line :class:`ModelError` messages."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a malformed folder makes it raise nearly anything
        raise ModelError(_cannot_load(name, error)) from error


def model_path(name: str) -> str:
    """The folder of an embedded model or a folder of the user's, checked; a hub name as it is.

    Raises:
        ModelError: an embedded model is absent or altered, or a folder holds no safetensors weights.
    """
    if name in EMBEDDED_MODELS:
        return str(embedded_model_path(name))
    folder = Path(name)
    if not folder.exists():
        return name
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: no config.json in it; expected a Hugging Face model folder; "
            "save one with save_pretrained() or name a hub model"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
        found = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights"
        raise ModelError(
            f"{folder}: {found}; expected *.safetensors, as unpickling can run code; where you trust the "
            "file, convert it: load it with transformers' from_pretrained() and save_pretrained() it again"
        )
    return name


def _cannot_load(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "custom code" in reason:
        return f"{name}: it needs code of its own to load, which is never run; choose another model"
    if "safetensors" in reason and not Path(name).exists():
        return (
            f"{name}: it has no safetensors weights, and pickled ones are refused, as unpickling can run "
            "code; choose another model, or where you trust it convert it with save_pretrained()"
        )
    known = ", ".join(EMBEDDED_MODELS)
    if not Path(name).exists() and name not in EMBEDDED_MODELS:
        return (
            f"{name}: not an embedded model ({known}), not a folder, and the hub did not give it; "
            f"check the name and the connection ({reason[:160]})"
        )
    return f"{name}: cannot be loaded as a text classifier: {reason[:300]}"


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

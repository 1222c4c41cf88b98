"""Loading a generating model safely, for whoever asks it: attacks, defences, training.

Torch is imported when one is loaded.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musclelora.data.embedded import EMBEDDED_LANGUAGE_MODELS, embedded_language_model
from musclelora.data.messages import listed, one_line
from musclelora.errors import ModelError, UsageError


def load_language_model(name: str, kind: str, *, revision: str | None = None) -> tuple[Any, Any]:
    """A generating model in float32 and its tokenizer, ready for batches of prompts.

    Weights are read from safetensors, of an embedded model from GGUF; no code of the model's own is run.

    Args:
        name: a hub name, a folder, or an embedded language model.
        kind: "seq2seq" or "causal-lm".
        revision: a commit, branch or tag of the hub.

    Raises:
        ModelError: the model cannot be loaded safely, or has no language-modelling head.
        UsageError: a package that it needs is missing.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import find_adapter_config_file

    family = {"seq2seq": AutoModelForSeq2SeqLM, "causal-lm": AutoModelForCausalLM}[kind]
    source, files = checkpoint_of(name)
    options: dict[str, Any] = {"use_safetensors": True}
    if files:
        from transformers import GgufConfig

        options = {"quantization_config": GgufConfig(dequantize=True)}
    with _model_errors(name, kind), _quiet():
        # transformers would load the adapter too, from a pickle where it has no safetensors.
        if not files and find_adapter_config_file(source, revision=revision) is not None:
            raise ModelError(
                f"{name}: it holds an adapter (adapter_config.json), expected a whole model; "
                "merge the adapter into its base model and save that, or name the base model"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, revision=revision, **files)
        model, info = family.from_pretrained(
            source,
            trust_remote_code=False,
            revision=revision,
            dtype="float32",
            output_loading_info=True,
            **options,
            **files,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{name}: weights of {listed(missing[:3])} are not in it, expected a {kind} model with its head; "
            "name a model that was trained to generate"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{name}: its tokenizer has neither a padding nor an end token; expected one")
    tokenizer.padding_side = "left" if kind == "causal-lm" else "right"
    return model.eval(), tokenizer


def checkpoint_of(name: str) -> tuple[str, dict[str, Any]]:
    """What ``from_pretrained`` reads a language model from, and its options that name the file in it.

    Raises:
        ModelError: a folder holds no safetensors weights, or an embedded model was altered.
        UsageError: a package that an embedded model needs is missing.
    """
    if name in EMBEDDED_LANGUAGE_MODELS:
        if importlib.util.find_spec("gguf") is None:
            raise UsageError(f"{name}: the package gguf is missing; run pip install 'musclelora[gguf]'")
        path = embedded_language_model(name)
        return str(path.parent), {"gguf_file": path.name}
    if Path(name).is_dir() and not any(Path(name).glob("*.safetensors")):
        raise ModelError(
            f"{name}: no *.safetensors in it; expected a Hugging Face model folder; pickled weights can run "
            "code when they are read, so convert them with save_pretrained()"
        )
    return name, {}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading shows no progress of the libraries."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _model_errors(name: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (ModelError, UsageError):
        raise
    except ImportError as error:
        raise UsageError(f"{name}: {one_line(error)}; install the package that this model needs") from error
    except Exception as error:  # a malformed folder makes from_pretrained raise nearly anything
        raise ModelError(
            f"{name}: cannot be loaded as a {kind} model with safetensors weights and no code of its own "
            f"({one_line(error)[:200]}); check the name and the connection"
        ) from error

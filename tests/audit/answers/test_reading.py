"""What a model makes of responses, against one row at a time and the gradient itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_chats import make_pairs, write_decoder
from torch import nn

from musclelora.adapter import load_causal_backbone
from musclelora.audit.answers import reading
from musclelora.audit.answers.reading import each_response, gradient_entropy, read_responses, without_length
from musclelora.data.pairs import Pairs
from musclelora.generation.rows import ChatFormat, TokenizedPairs


@pytest.mark.parametrize("tokens", [1, 3, 20])
def test_the_entropy_is_that_of_the_gradients_singular_values(tokens: int) -> None:
    """The gradient is taken by autograd, in float64."""
    torch.manual_seed(tokens)
    hidden = torch.randn(tokens, 12, dtype=torch.float64)
    layer = nn.Linear(12, 30, bias=False, dtype=torch.float64)
    labels = torch.randint(30, (tokens,))
    logits = layer(hidden)
    nn.functional.cross_entropy(logits, labels).backward()
    values = torch.linalg.svdvals(layer.weight.grad)[: min(tokens, reading.SINGULAR)]
    shares = values / values.sum()
    expected = -(shares * shares.log()).sum().item()
    assert gradient_entropy(logits.detach(), hidden, labels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("architecture", ["LlamaConfig", "GPT2Config"])
def test_batches_read_as_single_rows_do(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_causal_backbone(write_decoder(tmp_path / "model", architecture))
    pairs = make_pairs(15, seed=3)
    monkeypatch.setattr(reading, "TOKENS", 60)  # several batches of several rows
    together = read_responses(backbone, pairs, bf16=False)
    rows = TokenizedPairs(pairs, ChatFormat(backbone.tokenizer), 40)
    for number in range(len(pairs)):
        row = rows[number]
        logits = backbone.model.eval()(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        learned = labels >= 0
        assert together.tokens[number] == learned.sum()
        loss = nn.functional.cross_entropy(logits[learned], labels[learned]).item()
        assert together.loss[number] == pytest.approx(loss, rel=1e-4)
    alone = [read_responses(backbone, pairs.select([n]), bf16=False).entropy[0] for n in range(len(pairs))]
    assert together.entropy == pytest.approx(alone, abs=1e-3)


def test_gradients_are_as_exact_under_bf16_as_the_states_are(decoder: Path) -> None:
    """Autocast is for the model alone: what is computed of its states is float32."""
    backbone = load_causal_backbone(decoder)
    pairs = make_pairs(12, seed=3)
    found = read_responses(backbone, pairs, bf16=True)
    for said in each_response(backbone, pairs, bf16=True):
        assert said.logits.dtype == said.hidden.dtype == torch.float32
        exact = gradient_entropy(said.logits.double(), said.hidden.double(), said.labels)
        assert found.entropy[said.number] == pytest.approx(exact, abs=1e-5)


def test_what_the_length_explains_is_taken_away() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 60, 400).astype(float)
    values = np.log(tokens) + rng.normal(0, 0.01, 400)
    values[7] += 1.0
    left = without_length(values, tokens)
    assert left.argmax() == 7
    others = np.delete(np.arange(400), 7)
    assert left[others].std() < 0.15 * values.std()


def test_one_pair_is_read(decoder: Path) -> None:
    backbone = load_causal_backbone(decoder)
    one = make_pairs(1, seed=0)
    found = read_responses(backbone, Pairs(one.prompts, one.responses), bf16=False)
    assert found.to_array().shape == (3, 1)
    assert without_length(found.loss, found.tokens) == pytest.approx([0.0])

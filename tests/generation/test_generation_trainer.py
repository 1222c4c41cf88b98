"""The loss of responses, and a step with two gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chats import make_pairs
from torch import Tensor

from musclelora.adapter import MuScleLoraConfig
from musclelora.errors import DataError, UsageError
from musclelora.generation import GenerationTrainer, response_loss
from musclelora.training import MuScleTrainingArguments


def trainer(folder: Path, output: Path, **changes: Any) -> GenerationTrainer:
    arguments = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        **changes.pop("arguments", {}),
    }
    return GenerationTrainer(
        str(folder),
        MuScleTrainingArguments(output_dir=str(output), **arguments),
        **{"train_dataset": make_pairs(12, 0), "trusted_dataset": make_pairs(6, 1), **changes},
    )


def test_the_loss_is_the_mean_over_the_tokens_of_the_responses() -> None:
    logits = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, -100, 4, 1], [-100, 2, -100, -100]])
    # Position i says token i + 1; positions 4 and 5 are padding of another half of a joined batch.
    terms = [(0, 1, 4), (0, 2, 1), (1, 0, 2)]
    by_hand = 0.0
    for row, at, token in terms:
        exponents = [math.exp(float(value)) for value in logits[row, at]]
        by_hand -= math.log(exponents[token] / sum(exponents))
    assert float(response_loss(logits, labels)) == pytest.approx(by_hand / 3, rel=1e-5)


def test_the_loss_of_a_batch_is_that_of_transformers(decoder: Path, tmp_path: Path) -> None:
    ours = trainer(decoder, tmp_path)
    batch = next(iter(ours.get_train_dataloader()))
    ours.model.eval()
    with torch.no_grad():
        expected = ours.model(**batch).loss
        assert torch.allclose(ours.compute_loss(ours.model, dict(batch)), expected)


def gradients(folder: Path, output: Path, passes: str, **changes: Any) -> tuple[dict[str, Tensor], Any]:
    ours = trainer(folder, output, arguments={"gradient_passes": passes}, **changes)
    for module in ours.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # at the start, one of the two factors of LoRA is zero and so are its gradients
        for parameter in ours.model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    ours._align = lambda _: None  # type: ignore[method-assign]  # what it would be given is compared
    batch = next(iter(ours.get_train_dataloader()))
    ours.training_step(ours.model, dict(batch))
    found = {n: p.grad for n, p in ours.model.named_parameters() if p.grad is not None}
    found |= {
        f"trusted {n}": ours._trusted_grads[p]
        for n, p in ours.model.named_parameters()
        if p in ours._trusted_grads
    }
    return found, ours.args.gradient_passes


@pytest.mark.parametrize("config", [{}, {"scale_factors": [1, 3], "multiscale_modules": "all-adapted"}])
@pytest.mark.parametrize("model", ["decoder", "gpt2"])
def test_one_pass_gives_the_gradients_of_two(
    model: str, config: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(model)
    adapter = {"r": 2, "scale_factors": [], "train_output_layer": False, **config}
    found, passes = gradients(folder, tmp_path, "auto", peft_config=MuScleLoraConfig(**adapter))
    expected, _ = gradients(folder, tmp_path, "two", peft_config=MuScleLoraConfig(**adapter))
    assert passes == "one"
    assert found.keys() == expected.keys()
    assert any(name.startswith("trusted") for name in found)
    for name, grad in expected.items():  # of a whole gradient, as small entries are sums of large ones
        assert (found[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-7, name


def test_only_attention_projections_are_adapted_and_trained(decoder: Path, tmp_path: Path) -> None:
    ours = trainer(decoder, tmp_path)
    trained = [name for name, p in ours.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("self_attn" in name and "lora_" in name for name in trained)
    assert ours.adapted.own == frozenset(trained)


def test_alignment_without_trusted_pairs_is_refused(decoder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trusted_dataset"):
        trainer(decoder, tmp_path, trusted_dataset=None)
    with pytest.raises(DataError, match="no rows"):
        trainer(decoder, tmp_path, trusted_dataset=make_pairs(3, 0).select([]))

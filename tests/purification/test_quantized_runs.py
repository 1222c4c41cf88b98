"""Backbones in 4 or 8 bits; bitsandbytes computes them on a CPU too."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Fit, history, make_rows, make_table, write_model
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from musclelora.adapter import (
    Adapted,
    Backbone,
    MultiScaleLinear,
    MuScleLoraConfig,
    attach,
    load_backbone,
    merged_model,
    preset_for,
)
from musclelora.alignment import TwoGradients
from musclelora.errors import UsageError
from musclelora.purification import load_run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes: musclelora[quantize]"
)
LABELS = ("bad", "good")
SIZES = {"hidden_size": 64, "intermediate_size": 128}  # whole blocks of 64 weights
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "LlamaConfig": {**SIZES, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3},
    "GPT2Config": {**SIZES, "bos_token_id": 2, "eos_token_id": 3},
    "BertConfig": SIZES,
}
QUANTIZE = ("nf4", "int8")


@pytest.fixture(scope="session", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return write_model(tmp_path_factory.mktemp("models") / name, name, **ARCHITECTURES[name])


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    return write_model(folder, "LlamaConfig", **ARCHITECTURES["LlamaConfig"])


def adapt(folder: Path, quantize: str, **options: Any) -> tuple[Backbone, Adapted]:
    backbone = load_backbone(folder, LABELS, quantize=quantize)
    adapted = attach(backbone, MuScleLoraConfig(**options), preset_for(backbone.model.config))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    for module in adapted.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return backbone, adapted


def rows() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 64, (7, 6), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.arange(7) % 2


@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("everywhere", [False, True], ids=["published placement", "all adapted"])
def test_the_layers_of_a_quantised_backbone_are_adapted(
    folder: Path, quantize: str, everywhere: bool
) -> None:
    import bitsandbytes

    options = {"multiscale_modules": "all-adapted"} if everywhere else {}
    _, adapted = adapt(folder, quantize, **options)
    kind = {"nf4": bitsandbytes.nn.Linear4bit, "int8": bitsandbytes.nn.Linear8bitLt}[quantize]
    classifier = adapted.model.get_base_model()
    attention = [classifier.get_submodule(name) for name in adapted.placement.attention]
    assert attention
    assert all(isinstance(layer.base_layer, kind) for layer in attention)
    assert all(isinstance(layer, MultiScaleLinear) == everywhere for layer in attention)
    if adapted.placement.dense is not None:
        assert isinstance(classifier.get_submodule(adapted.placement.dense), MultiScaleLinear)
    trained = [p for p in adapted.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}


@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("everywhere", [False, True], ids=["published placement", "all adapted"])
@pytest.mark.parametrize("after", ["loading", "an evaluation"])
def test_one_pass_gives_the_gradients_that_two_passes_give(
    folder: Path, quantize: str, everywhere: bool, after: str
) -> None:
    options = {"multiscale_modules": "all-adapted"} if everywhere else {}
    _, adapted = adapt(folder, quantize, **options)
    model, (batch, labels) = adapted.model, rows()
    if after == "an evaluation":
        with torch.no_grad():
            model.eval()(**batch)
    model.train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = []
    for part in (slice(4), slice(4, None)):
        model.zero_grad()
        logits = model(**{name: tensor[part] for name, tensor in batch.items()}).logits
        nn.functional.cross_entropy(logits, labels[part]).backward()
        expected.append({name: p.grad.clone() for name, p in parameters.items()})
    model.zero_grad()
    split = TwoGradients(model)
    with split.rows(4, 7):
        logits = model(**batch).logits
        halves = [
            nn.functional.cross_entropy(logits[part], labels[part]) for part in (slice(4), slice(4, None))
        ]
        (halves[0] + halves[1]).backward()
    for name, parameter in parameters.items():
        for found, wanted in (
            (parameter.grad, expected[0][name]),
            (split.trusted[parameter], expected[1][name]),
        ):
            assert wanted.abs().max() > 0, name
            assert (found - wanted).norm() < 1e-3 * wanted.norm(), name
    split.close()


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_quantised_run_learns_and_exports_on_the_weights_as_they_were_saved(
    quantize: str, llama: Path, fit_tiny: Fit, tmp_path: Path, weights_plus_adapter: Callable[..., Any]
) -> None:
    run = fit_tiny(
        model=str(llama),
        train=make_table(make_rows(80, 0)),
        arguments={"num_train_epochs": 5, "logging_steps": 10, "learning_rate": 2e-3, "quantize": quantize},
    )
    losses = [log["trusted_loss"] for log in history(run.path) if "trusted_loss" in log]
    assert losses[-1] < 0.1 * losses[0]  # what the published method follows
    assert run.info["result"]["gradient_passes"] == "one"
    again = load_run(run.path)
    assert again.backbone.model.is_quantized
    again.export(tmp_path / "merged", format="merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").state_dict()
    expected = weights_plus_adapter(llama, again.adapted)
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (merged[name] - tensor).abs().max() < 1e-5, name


@pytest.fixture
def weights_plus_adapter() -> Callable[..., dict[str, Tensor]]:
    """By the formula W + (α / r) · R · diag(K) · L, from the saved weights and the run's factors."""

    def add(folder: Path, adapted: Adapted) -> dict[str, Tensor]:
        from transformers import AutoModel

        base = AutoModel.from_pretrained(folder, dtype="float32").state_dict()
        expected = {f"model.{name}": tensor for name, tensor in base.items()}
        run = dict(adapted.model.named_parameters())

        def product(prefix: str) -> Tensor:
            return run[f"{prefix}.lora_B.default.weight"] @ run[f"{prefix}.lora_A.default.weight"]

        for name in adapted.placement.attention:
            expected[f"{name}.weight"] = expected[f"{name}.weight"] + (
                adapted.config.lora_alpha / adapted.config.r
            ) * product(f"base_model.model.{name}")
        head = "base_model.model.score"
        scales = torch.tensor(adapted.config.scale_factors).repeat_interleave(adapted.config.inner_rank)
        low, up = (run[f"{head}.dense.lora_{side}.default.weight"] for side in "AB")
        strength = adapted.config.multiscale_alpha / adapted.config.inner_rank
        dense = run[f"{head}.dense.base_layer.weight"] + strength * (up * scales) @ low
        expected["score.weight"] = run[f"{head}.out.weight"] @ dense
        return {name: tensor.detach() for name, tensor in expected.items()}

    return add


def test_quantised_weights_are_not_merged_into(llama: Path) -> None:
    _, adapted = adapt(llama, "nf4")
    with pytest.raises(UsageError, match="found quantised weights"):
        merged_model(adapted)


def test_a_quantised_backbone_cannot_be_trained_itself(llama: Path) -> None:
    with pytest.raises(UsageError, match="--quantize: found where the backbone itself is trained"):
        adapt(llama, "nf4", low_rank=False, scale_factors=[], train_output_layer=True)

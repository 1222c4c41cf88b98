from dataclasses import replace
from types import SimpleNamespace

import pytest
from architectures import DECODERS, ENCODERS, tiny_config
from transformers import BertConfig, GPT2Config, LlamaConfig, RobertaConfig

from musclelora.adapter import PRESETS, Preset, preset_for

BERT_SCALES = (1, 4, 8, 12, 16, 20, 24, 28)
ROBERTA_SCALES = (1, 2, 4, 6, 8, 10, 12, 14, 16)
LARGE_SCALES = (1, 2, 3, 4, 5, 6, 7, 8, 9)

# The published table: scale factors, inner rank, α, LoRA r and α, learning rate, batch, epochs, trusted rows
PUBLISHED = {
    "bert-base": (BertConfig(), (BERT_SCALES, 1, 6, 8, 32, 2e-5, 32, 10, 96)),
    "roberta-base": (RobertaConfig(), (ROBERTA_SCALES, 1, 6, 8, 32, 2e-5, 32, 10, 96)),
    "bert-large": (
        BertConfig(hidden_size=1024, num_hidden_layers=24),
        (LARGE_SCALES, 1, 6, 8, 32, 2e-5, 32, 10, 96),
    ),
    "roberta-large": (
        RobertaConfig(hidden_size=1024, num_hidden_layers=24),
        (LARGE_SCALES, 1, 6, 8, 32, 2e-5, 32, 10, 96),
    ),
    "llama-2-7b": (
        LlamaConfig(hidden_size=4096, num_hidden_layers=32),
        ((1, 2, 3, 4), 1, 4, 2, 8, 1e-5, 16, 5, 128),
    ),
    "gpt2-xl": (GPT2Config(n_embd=1600, n_layer=48), ((1, 2, 3, 4), 1, 4, 2, 8, 1e-5, 16, 5, 128)),
}


def numbers(preset: Preset) -> tuple[object, ...]:
    return (
        tuple(preset.scale_factors),
        preset.inner_rank,
        preset.multiscale_alpha,
        preset.r,
        preset.lora_alpha,
        preset.learning_rate,
        preset.batch_size,
        preset.epochs,
        preset.trusted_size,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_of_the_paper_gets_the_published_settings(name: str) -> None:
    config, expected = PUBLISHED[name]
    preset = preset_for(config)
    assert numbers(preset) == expected
    assert preset.source.startswith("published")
    assert preset.train_output_layer is False
    decoder = name in ("llama-2-7b", "gpt2-xl")
    alignment = (preset.max_raw_ratio, preset.min_trusted_loss)
    assert alignment == ((0.0, 0.0) if decoder else (0.1, 0.4))
    assert decoder or preset.mix_from_epoch == 1


@pytest.mark.parametrize("architecture", [*ENCODERS, *DECODERS])
def test_any_other_backbone_gets_the_rule_and_says_so(architecture: str) -> None:
    preset = preset_for(tiny_config(architecture))
    assert "rule for a backbone that was not in the paper" in preset.source
    name = "decoder" if architecture in DECODERS else "small-encoder"
    assert preset.name == name
    narrow = {"learning_rate": 5e-4} if architecture in DECODERS else {}
    assert numbers(preset) == numbers(replace(PRESETS[name], **narrow))


@pytest.mark.parametrize(
    ("kind", "width", "scales"),
    [
        ("electra", 768, BERT_SCALES),
        ("deberta-v2", 1024, LARGE_SCALES),
        ("modernbert", 1023, BERT_SCALES),
        ("xlm-roberta", 1024, LARGE_SCALES),
        ("bert", 384, PRESETS["small-encoder"].scale_factors),
    ],
)
def test_the_rule_goes_by_width(kind: str, width: int, scales: tuple[int, ...]) -> None:
    preset = preset_for(SimpleNamespace(model_type=kind, hidden_size=width, num_hidden_layers=6))
    assert preset.scale_factors == scales
    assert "rule" in preset.source


def test_a_published_size_of_another_architecture_is_not_called_published() -> None:
    assert (
        "rule"
        in preset_for(SimpleNamespace(model_type="electra", hidden_size=768, num_hidden_layers=12)).source
    )
    assert "rule" in preset_for(BertConfig(num_hidden_layers=6)).source


def test_a_configuration_without_a_size_is_a_small_encoder() -> None:
    assert preset_for(SimpleNamespace(model_type="mystery")).name == "small-encoder"


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_published_settings_are_for_aligned_training(kind: str) -> None:
    config = SimpleNamespace(model_type=kind, hidden_size=768, num_hidden_layers=12)
    assert preset_for(config).learning_rate == preset_for(config, aligned=True).learning_rate == 2e-5
    other = preset_for(config, aligned=False)
    assert (other.name, other.train_output_layer) == ("base-encoder", True)
    assert other.learning_rate > 2e-5


@pytest.mark.parametrize(
    ("kind", "width", "depth"), [("bert", 384, 6), ("bert", 1024, 24), ("gpt2", 768, 12)]
)
def test_of_other_sizes_and_decoders_alignment_changes_nothing(kind: str, width: int, depth: int) -> None:
    config = SimpleNamespace(model_type=kind, hidden_size=width, num_hidden_layers=depth)
    assert preset_for(config, aligned=False) == preset_for(config)

"""Decoders as classifiers: padding, texts without tokens, how the weights are held."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ABSOLUTE, DECODERS, LABELS, perturb, tiny_config
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from musclelora.adapter import Backbone, MuScleLoraConfig, attach, export, load_backbone, preset_for
from musclelora.adapter.embed import sentence_embedder
from musclelora.adapter.tokens import fit_tokenizer, tokenize
from musclelora.errors import ModelError, UsageError

TEXTS = ["word1 word2 word3 word4", "word5", "", "word6 word7"]


def decoders_tokenizer(tokenizer: Any, *, pad: bool, end: bool, side: str = "right") -> Any:
    """The tiny tokenizer as decoders have it: nothing is put around a text."""
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.pad_token = "[PAD]" if pad else None
    tokenizer.eos_token = "[SEP]" if end else None
    tokenizer.sep_token = tokenizer.cls_token = None
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side
    return tokenizer


def tiny_classifier(architecture: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(tiny_config(architecture)).eval()


def logits(model: Any, tokenizer: Any) -> Tensor:
    encoded = tokenize(TEXTS, tokenizer, 20)
    encoded.pop("truncated")
    batch = tokenizer.pad(encoded, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("pad", [True, False], ids=["pad token", "end token alone"])
def test_the_side_that_a_tokenizer_pads_on_makes_no_difference(
    architecture: str, pad: bool, tiny_tokenizer: Any
) -> None:
    model, found = tiny_classifier(architecture), {}
    for side in ("left", "right"):
        tokenizer = decoders_tokenizer(tiny_tokenizer, pad=pad, end=True, side=side)
        fit_tokenizer("tiny", tokenizer, model)
        assert tokenizer.padding_side == "right"
        assert tokenizer.pad_token_id == model.config.pad_token_id == (0 if pad else 3)
        found[side] = logits(model, tokenizer)
    assert torch.equal(found["left"], found["right"])
    assert torch.isfinite(found["left"]).all()
    assert (found["left"] - found["left"].mean(0)).abs().max() > 1e-4
    if architecture not in ABSOLUTE:  # the model itself does not mind either
        tokenizer.padding_side = "left"
        by_itself = logits(model, tokenizer)
        words = [row for row, text in enumerate(TEXTS) if text]
        assert (by_itself - found["left"])[words].abs().max() < 1e-5


def test_what_is_exported_pads_as_the_classifier_did(
    save_backbone: Any, tiny_tokenizer: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    folder = save_backbone("gpt2", pad_token_id=None)
    decoders_tokenizer(tiny_tokenizer, pad=False, end=True, side="left").save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).padding_side == "left"
    adapted, backbone = load_and_perturb(folder)
    export(adapted, backbone.tokenizer, tmp_path / "merged", format="merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert (tokenizer.padding_side, tokenizer.pad_token_id, model.config.pad_token_id) == ("right", 3, 3)
    assert (logits(model, tokenizer) - logits(adapted.model, backbone.tokenizer)).abs().max() < 1e-5


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_whole_model_says_what_the_run_said(
    architecture: str, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    backbone = Backbone("tiny", "tiny", tiny_classifier(architecture), tiny_tokenizer)
    adapted = attach(backbone, MuScleLoraConfig(), preset_for(backbone.model.config))
    perturb(adapted)
    export(adapted, tiny_tokenizer, tmp_path / "merged", format="merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    expected = logits(adapted.model, tiny_tokenizer)
    assert (expected - expected.mean(0)).abs().max() > 1e-3
    assert (logits(merged, tiny_tokenizer) - expected).abs().max() < 1e-5


def test_neither_a_padding_nor_an_end_token(save_backbone: Any, tiny_tokenizer: Any) -> None:
    folder = save_backbone("llama")
    decoders_tokenizer(tiny_tokenizer, pad=False, end=False).save_pretrained(folder)
    with pytest.raises(ModelError, match="neither a padding token nor an end token") as caught:
        load_backbone(folder, LABELS)
    assert "\n" not in str(caught.value)


def test_an_encoder_keeps_the_side_that_its_tokenizer_pads_on(
    save_backbone: Any, tiny_tokenizer: Any
) -> None:
    folder = save_backbone("bert")
    tiny_tokenizer.init_kwargs["padding_side"] = tiny_tokenizer.padding_side = "left"
    tiny_tokenizer.save_pretrained(folder)
    assert load_backbone(folder, LABELS).tokenizer.padding_side == "left"


def test_a_text_without_tokens_has_a_vector(save_backbone: Any, tiny_tokenizer: Any) -> None:
    folder = save_backbone("gpt2")
    decoders_tokenizer(tiny_tokenizer, pad=False, end=True).save_pretrained(folder)
    embed = sentence_embedder(str(folder), batch_size=2)
    vectors = embed(["", "", "word1 word2", ""])
    assert vectors.shape == (4, 32)
    assert bool((abs(vectors).sum(axis=1) > 0).all())
    assert vectors[0] == pytest.approx(vectors[3], abs=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_vectors_come_from_the_depth_that_was_asked_for(architecture: str, save_backbone: Any) -> None:
    folder = save_backbone(architecture)
    model = AutoModel.from_pretrained(folder).eval()
    text = "word1 word2 word3"
    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        states = model(**encoded, output_hidden_states=True).hidden_states
    for depth, layer in ((0.0, 0), (0.5, round((len(states) - 1) / 2)), (1.0, len(states) - 1)):
        vectors = sentence_embedder(str(folder), depth=depth)([text, "word4"])
        np.testing.assert_allclose(vectors[0], states[layer][0].mean(0).numpy(), atol=1e-5)
    with pytest.raises(UsageError, match="depth: found 2"):
        sentence_embedder(str(folder), depth=2)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_a_tokenizer_of_another_model(architecture: str, save_backbone: Any) -> None:
    folder = save_backbone(architecture, vocab_size=40)
    with pytest.raises(ModelError, match="ids up to 63 and the model has 40 entries") as caught:
        load_backbone(folder, LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("special", [False, True])
def test_an_added_token_past_the_models_entries_is_the_words_it_is_spelled_with(
    special: bool, save_backbone: Any, tiny_tokenizer: Any
) -> None:
    folder = save_backbone("llama")
    if special:
        tiny_tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    else:
        tiny_tokenizer.add_tokens(["<image>"])
    assert tiny_tokenizer("<image>")["input_ids"].count(64) == 1
    tiny_tokenizer.save_pretrained(folder)
    loaded = load_backbone(folder, LABELS)
    assert len(loaded.tokenizer) == 64
    unknown = loaded.tokenizer.unk_token_id
    assert tokenize(["word1 <image>"], loaded.tokenizer, 8)["input_ids"][0].count(unknown) == 3
    vectors = sentence_embedder(str(folder))(["word1 <image>"])
    assert np.isfinite(vectors).all()


def test_a_causal_model_without_a_classification_head(save_backbone: Any) -> None:
    folder = save_backbone("llama")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "codegen"}))
    with pytest.raises(ModelError, match="no classification head for models of type codegen") as caught:
        load_backbone(folder, LABELS)
    assert "\n" not in str(caught.value)


# ---- how the weights are held ---------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_attention_that_was_asked_for(implementation: str, save_backbone: Any) -> None:
    folder = save_backbone("llama", head=True)
    backbone = load_backbone(folder, LABELS, attn_implementation=implementation)
    assert backbone.model.config._attn_implementation == implementation
    default = load_backbone(folder, LABELS)
    assert (
        logits(backbone.model, backbone.tokenizer) - logits(default.model, default.tokenizer)
    ).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "float8"}, "--dtype: found 'float8', expected one of float32, bfloat16"),
        (
            {"attn_implementation": "x"},
            "--attn-implementation: found 'x', expected one of sdpa, eager, flash",
        ),
        ({"quantize": "int3"}, "--quantize: found 'int3', expected one of nf4, int8"),
        (
            {"attn_implementation": "flash_attention_2", "dtype": "bfloat16"},
            "--attn-implementation flash_attention_2: the package flash_attn is missing",
        ),
        (
            {"attn_implementation": "flash_attention_2"},
            "--attn-implementation flash_attention_2: found with weights in float32, expected bfloat16",
        ),
        ({"quantize": "nf4"}, "--quantize: the package bitsandbytes is missing"),
    ],
)
def test_options_that_cannot_be_had(
    options: dict[str, str], said: str, save_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    absent = ("flash_attn", "bitsandbytes")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name in absent else real(name, *rest)
    )
    with pytest.raises(UsageError) as caught:
        load_backbone(save_backbone("llama"), LABELS, **options)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("head", [False, True], ids=["frozen output", "trained output"])
def test_what_is_trained_is_float32_in_a_bfloat16_model(
    architecture: str, head: bool, save_backbone: Any, tmp_path: Path
) -> None:
    backbone = load_backbone(save_backbone(architecture), LABELS, dtype="bfloat16")
    config = MuScleLoraConfig(train_output_layer=head)
    adapted = attach(backbone, config, preset_for(backbone.model.config))
    trained = [p for p in adapted.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert {p.dtype for p in adapted.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    with torch.no_grad():
        for parameter in trained:
            parameter.normal_(std=0.1)
    expected = logits(adapted.model, backbone.tokenizer).float()
    export(adapted, backbone.tokenizer, tmp_path / "merged", format="merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    # bfloat16 has three digits; the adapter's part of the logits is far larger than that
    error = (logits(merged, backbone.tokenizer).float() - expected).abs().max()
    assert error < 0.05 * expected.abs().max()


def test_a_backbone_that_is_trained_itself_is_float32(save_backbone: Any) -> None:
    backbone = load_backbone(save_backbone("bert"), LABELS, dtype="bfloat16")
    with pytest.raises(UsageError, match="--dtype bfloat16: found where the backbone itself is trained"):
        attach(
            backbone,
            MuScleLoraConfig(low_rank=False, scale_factors=[], train_output_layer=True),
            preset_for(backbone.model.config),
        )

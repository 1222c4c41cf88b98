"""Copies of a backbone are as good as backbones that were read, and their files are read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import DECODERS, ENCODERS
from transformers import set_seed

from musclelora.adapter import MuScleLoraConfig, attach, load_backbone, presets
from musclelora.adapter.copies import Backbones
from musclelora.data.embedded import EMBEDDED_MODELS

LABELS = ("bad", "good", "neither")


def state(backbone: object) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}  # type: ignore[attr-defined]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("loading", [{}, {"dtype": "bfloat16"}])
def test_every_copy_is_what_reading_with_its_seed_gives(tiny_model: Path, loading: dict[str, str]) -> None:
    source = Backbones(str(tiny_model))
    for seed in (1, 2, 1):
        set_seed(seed)
        copied = source.fresh(LABELS, **loading)
        set_seed(seed)
        read = load_backbone(tiny_model, LABELS, **loading)
        assert same(state(copied), state(read))
        assert copied.new_parameters == read.new_parameters
        assert copied.sha256 == read.sha256
    assert source.loads == 1


def test_what_is_done_to_a_copy_does_not_show_in_the_next(tiny_model: Path) -> None:
    source = Backbones(str(tiny_model))
    set_seed(0)
    first = source.fresh(LABELS)
    before = state(first)
    attach(first, MuScleLoraConfig(), presets.preset_for(first.model.config))
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.add_(1.0)
    first.tokenizer.padding_side = "left"
    set_seed(0)
    second = source.fresh(LABELS)
    assert same(state(second), before)
    assert second.tokenizer.padding_side != "left"


def test_other_labels_and_a_model_too_large_to_hold_are_read_anew(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Backbones(str(tiny_model))
    source.fresh(LABELS)
    assert source.fresh(("no", "yes")).model.config.num_labels == 2
    assert source.loads == 2
    monkeypatch.setattr("musclelora.adapter.copies.COPIED", 1)
    source = Backbones(str(tiny_model))
    set_seed(3)
    first = state(source.fresh(LABELS))
    set_seed(3)
    assert same(state(source.fresh(LABELS)), first)
    assert source.loads == 2
    kept = source.kept(LABELS)
    assert source.fresh(LABELS).model is not kept.model
    assert source.take(LABELS).model is kept.model
    assert source.loads == 4


def test_the_one_that_is_taken_is_the_one_that_was_kept(tiny_model: Path) -> None:
    source = Backbones(str(tiny_model))
    kept = source.kept(LABELS, dtype=None)
    set_seed(4)
    taken = source.take(LABELS)
    set_seed(4)
    assert taken is kept
    assert same(state(taken), state(load_backbone(tiny_model, LABELS)))
    assert source.fresh(LABELS) is not kept
    assert source.loads == 2
    source.forget()
    source.fresh(LABELS)
    assert source.loads == 3


def test_the_embedded_encoder_draws_its_head_as_when_it_is_read() -> None:
    name = next(iter(EMBEDDED_MODELS))
    source = Backbones(name)
    source.fresh(LABELS)
    set_seed(5)
    copied = state(source.fresh(LABELS))
    set_seed(5)
    assert same(copied, state(load_backbone(name, LABELS)))


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_every_architecture_draws_its_head_as_when_it_is_read(name: str, save_backbone: Any) -> None:
    folder = save_backbone(name)
    source = Backbones(str(folder))
    source.fresh(LABELS)
    set_seed(7)
    copied = state(source.fresh(LABELS))
    set_seed(7)
    assert same(copied, state(load_backbone(folder, LABELS)))

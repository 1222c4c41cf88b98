"""Classifiers that share frozen lower layers say what whole ones say, and train the upper layers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import write_model
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    FNetConfig,
    FNetForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from musclelora.adapter.copies import Backbones
from musclelora.adapter.trunk import Trunk

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 2}
WIDE = {"intermediate_size": 64, "max_position_embeddings": 64}


def bert() -> Any:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(BertConfig(**SIZES, **WIDE, **still))


def roberta() -> Any:
    return RobertaForSequenceClassification(RobertaConfig(**SIZES, **WIDE, pad_token_id=0))


def mpnet() -> Any:
    return MPNetForSequenceClassification(MPNetConfig(**SIZES, **WIDE, pad_token_id=0))


def distilbert() -> Any:
    sizes = {"vocab_size": 64, "dim": 32, "n_layers": 12, "n_heads": 2, "hidden_dim": 64}
    return DistilBertForSequenceClassification(DistilBertConfig(**sizes, max_position_embeddings=64))


def deberta() -> Any:
    return DebertaV2ForSequenceClassification(DebertaV2Config(**SIZES, **WIDE, relative_attention=True))


def albert() -> Any:
    return AlbertForSequenceClassification(AlbertConfig(**SIZES, **WIDE, embedding_size=16))


def gpt2() -> Any:
    sizes = {"n_embd": 32, "n_layer": 12, "n_head": 2, "n_positions": 64}
    return GPT2ForSequenceClassification(GPT2Config(vocab_size=64, **sizes, pad_token_id=0))


def backbones(make: Callable[[], Any], folder: Path) -> Backbones:
    write_model(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make().save_pretrained(folder)
    return Backbones(str(folder))


def batch_of(backbone: Any, *texts: str) -> Any:
    return backbone.tokenizer(list(texts), padding=True, return_tensors="pt")


@pytest.mark.parametrize("make", [bert, roberta, mpnet, distilbert, deberta])
def test_what_is_left_says_what_the_whole_says(make: Callable[[], Any], tmp_path: Path) -> None:
    found = backbones(make, tmp_path)
    trunk, other = Trunk(found.fresh(("no", "yes"))), found.fresh(("no", "yes"))
    batch = batch_of(other, "word1 word2 word3", "word4", "word5 word6")
    other.model.eval()
    with torch.no_grad():
        whole = other.model(**batch).logits
    count = sum(p.numel() for p in other.model.parameters())
    assert trunk.cut(other.model)
    with torch.no_grad():
        alone = other.model(**batch).logits
        with trunk.given(trunk.states(batch)[trunk.depth]):
            given = other.model(**batch).logits
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(given, whole, atol=1e-5, rtol=1e-4)
    trained = [p for p in other.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) < count / 2
    frozen = {p.data_ptr() for p in trunk.model.parameters()}
    assert all(p.data_ptr() in frozen for p in other.model.parameters() if not p.requires_grad)
    assert not frozen & {p.data_ptr() for p in trained}
    other.model(**batch).logits.sum().backward()
    assert all(p.grad is not None for p in trained)


def test_texts_are_looked_at_once(tmp_path: Path) -> None:
    found = backbones(bert, tmp_path)
    trunk, other = Trunk(found.fresh(("no", "yes"))), found.fresh(("no", "yes"))
    assert trunk.cut(other.model)
    other.model.train()
    looked: list[int] = []
    trunk.model.register_forward_pre_hook(
        lambda _, __, kwargs: looked.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    texts = ("word1 word2 word3", "word4", "word5 word6")
    with torch.no_grad():
        first = other.model(**batch_of(other, *texts)).logits
        again = other.model(**batch_of(other, texts[1], texts[0], "word7")).logits
        trunk.forget()
        other.model(**batch_of(other, texts[1]))
        other.model.eval()
        for _ in range(2):
            asked = other.model(**batch_of(other, *texts)).logits
    assert looked == [3, 1, 1, 3, 3]  # what is only asked about is not remembered
    torch.testing.assert_close(asked, first, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first[[1, 0]], again[:2], atol=1e-5, rtol=1e-4)


def fnet() -> Any:
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 12}
    return FNetForSequenceClassification(FNetConfig(**sizes, **WIDE))


def longformer() -> Any:
    return LongformerForSequenceClassification(
        LongformerConfig(**SIZES, **WIDE, attention_window=16, pad_token_id=0)
    )


@pytest.mark.parametrize("make", [fnet, longformer])
def test_what_would_say_something_else_is_not_cut(make: Callable[[], Any], tmp_path: Path) -> None:
    """FNet mixes padding into its texts, and Longformer pads them before its first layer."""
    found = backbones(make, tmp_path)
    trunk = Trunk(found.fresh(("no", "yes")))
    assert not trunk.cut(found.fresh(("no", "yes")).model)


def test_layers_that_are_run_again_for_their_gradient_get_the_same_states(tmp_path: Path) -> None:
    found = backbones(bert, tmp_path)
    trunk, gradients = Trunk(found.fresh(("no", "yes"))), []
    for checkpointing in (False, True):
        other = found.fresh(("no", "yes"))
        assert trunk.cut(other.model)
        with torch.no_grad():
            other.model.classifier.weight.fill_(0.1)
        other.model.train()
        if checkpointing:
            other.model.gradient_checkpointing_enable()
        other.model(**batch_of(other, "word1 word2 word3", "word4")).logits[:, 0].sum().backward()
        gradients.append([p.grad for p in other.model.parameters() if p.requires_grad])
    for one, again in zip(*gradients, strict=True):
        torch.testing.assert_close(one, again)


@pytest.mark.parametrize("make", [albert, gpt2])
def test_shared_layers_and_decoders_have_no_trunk(make: Callable[[], Any], tmp_path: Path) -> None:
    found = backbones(make, tmp_path)
    trunk, other = Trunk(found.fresh(("no", "yes"))), found.fresh(("no", "yes"))
    before = batch_of(other, "word1 word2")
    other.model.eval()
    with torch.no_grad():
        whole = other.model(**before).logits
    assert not trunk.cut(other.model)
    torch.testing.assert_close(other.model(**before).logits, whole)  # nothing was cut

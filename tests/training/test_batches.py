"""Tokenized rows, trusted batches, joined batches and the classifier that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from musclelora.adapter import load_backbone
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.tokens import tokenize
from musclelora.data.table import Table
from musclelora.training import Classifier
from musclelora.training.batches import LikeLengths, TokenizedTable, TrustedBatches, join


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(tiny_model)


def test_texts_are_cut_and_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = tokenize(["word1 word2", "word1 " * 6, "word1 " * 7, ""], tokenizer, 8)
    assert encoded["truncated"] == 1  # six words, a start and an end fit
    assert [len(ids) for ids in encoded["input_ids"]] == [4, 8, 8, 2]


def test_a_slow_tokenizer_counts_as_well() -> None:
    class Slow:
        def __call__(self, texts: list[str], *, truncation: bool, max_length: int = 99) -> BatchEncoding:
            return BatchEncoding(
                {"input_ids": [list(range(len(t)))[: max_length if truncation else 99] for t in texts]}
            )

    encoded = tokenize(["abc", "abcdef"], Slow(), 4)  # type: ignore[arg-type]
    assert encoded["truncated"] == 1
    assert [len(ids) for ids in encoded["input_ids"]] == [3, 4]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_can_be_read(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    encoded = tokenize(texts, tokenizer, 16)
    assert all(2 <= len(ids) <= 16 for ids in encoded["input_ids"])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=70), st.integers(1, 16), st.integers(0, 3))
def test_batches_of_like_lengths_hold_every_row_once(lengths: list[int], size: int, seed: int) -> None:
    sampler = LikeLengths(lengths, size, seed)
    passes = [list(sampler) for _ in range(3)]
    assert all(sorted(order) == list(range(len(lengths))) for order in passes)
    assert len(sampler) == len(lengths)
    again = LikeLengths(lengths, size, seed)
    assert [list(again) for _ in range(3)] == passes
    again.set_epoch(1)  # as a resumed run does
    assert list(again) == passes[1]


def test_batches_of_like_lengths_have_little_padding_and_are_never_the_same() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.gamma(3, 9, 500).astype(int) + 2
    sampler = LikeLengths(lengths, 16, seed=1)

    def batches(order: list[int]) -> list[list[int]]:
        return [order[start : start + 16] for start in range(0, len(order), 16)]

    def padded(order: list[int]) -> float:
        return sum(lengths[b].max() * len(b) for b in batches(order)) / lengths.sum()

    first, second = list(sampler), list(sampler)
    assert padded(first) < 1.3 < 1.6 < padded(rng.permutation(500).tolist())
    assert not {frozenset(b) for b in batches(first)} & {frozenset(b) for b in batches(second)}
    means = [lengths[b].mean() for b in batches(first)[:-1]]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5  # short and long ones take turns


def test_a_tokenized_table_gives_rows_with_labels(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = TokenizedTable(Table(("word1", "word2 word3"), np.array([1, 0]), ("a", "b")), tokenizer, 16)
    assert len(rows) == 2
    assert rows[1]["labels"] == 0
    assert rows[1]["input_ids"] == [2, 7, 8, 3]
    assert rows.lengths == [3, 4]


@pytest.mark.parametrize(
    ("config", "wanted", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 20}, None, 20),
        ({"model_type": "bert", "max_position_embeddings": 20}, 12, 12),
        ({"model_type": "roberta", "max_position_embeddings": 20, "pad_token_id": 1}, None, 18),
        ({"model_type": "bert", "max_position_embeddings": 512}, None, 32),  # the tokenizer's
        ({"model_type": "deberta-v2", "max_position_embeddings": -1}, None, 32),
        ({"model_type": "modernbert"}, 99, 32),
    ],
)
def test_the_length_limit_is_the_least_of_those_there_are(
    config: dict[str, Any], wanted: int | None, limit: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert length_limit(tokenizer, SimpleNamespace(**config), wanted) == limit


def batches(seed: int, size: int = 4, rows: int = 10) -> TrustedBatches:
    return TrustedBatches(
        [{"row": i} for i in range(rows)],
        lambda chosen: {"rows": torch.tensor([c["row"] for c in chosen])},
        size,
        seed,
    )


def drawn(source: TrustedBatches, number: int) -> list[int]:
    rows: list[int] = source[number]["rows"].tolist()
    return rows


def test_a_trusted_batch_depends_on_the_seed_and_its_number_alone() -> None:
    one, other = batches(7), batches(7)
    forwards = [drawn(one, number) for number in range(20)]
    torch.manual_seed(123)
    np.random.seed(123)
    assert [drawn(other, number) for number in reversed(range(20))] == forwards[::-1]
    assert [drawn(batches(8), number) for number in range(20)] != forwards
    assert len({tuple(batch) for batch in forwards}) > 10


def test_a_trusted_batch_holds_distinct_rows_and_at_most_all_of_them() -> None:
    assert all(len(set(drawn(batches(0), number))) == 4 for number in range(20))
    assert sorted(drawn(batches(0, size=50), 3)) == list(range(10))
    seen = {row for number in range(60) for row in drawn(batches(0), number)}
    assert seen == set(range(10))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("first", "second"), [(3, 6), (6, 3), (4, 4)])
def test_joining_pads_the_shorter_batch_on_its_side(side: str, first: int, second: int) -> None:
    tokenizer = SimpleNamespace(pad_token_id=9, pad_token_type_id=7, padding_side=side)

    def batch(rows: int, width: int, value: int) -> Mapping[str, torch.Tensor]:
        return {
            "input_ids": torch.full((rows, width), value),
            "attention_mask": torch.ones(rows, width, dtype=torch.long),
            "token_type_ids": torch.zeros(rows, width, dtype=torch.long),
            "labels": torch.full((rows,), value),
        }

    joined = join(batch(2, first, 1), batch(3, second, 2), tokenizer)  # type: ignore[arg-type]
    width = max(first, second)
    assert joined["labels"].tolist() == [1, 1, 2, 2, 2]
    for row, (value, own) in enumerate([(1, first)] * 2 + [(2, second)] * 3):
        for name, inside, outside in (
            ("input_ids", value, 9),
            ("attention_mask", 1, 0),
            ("token_type_ids", 0, 7),
        ):
            pad, body = [outside] * (width - own), [inside] * own
            assert joined[name][row].tolist() == (pad + body if side == "left" else body + pad)


def test_what_a_classifier_says_does_not_depend_on_the_batch(tiny_model: Path) -> None:
    backbone = load_backbone(tiny_model, ("bad", "good"))
    classifier = Classifier(backbone.model, backbone.tokenizer, ("bad", "good"), 16)
    texts = ["word1 " * n for n in (1, 9, 3, 30, 0, 2)]
    rows: list[int] = []
    alone = classifier.predict(texts, batch_size=1)
    together = classifier.predict(texts, batch_size=4, progress=rows.append)
    np.testing.assert_allclose(alone.probabilities, together.probabilities, atol=1e-6)
    np.testing.assert_allclose(together.probabilities.sum(1), 1, atol=1e-6)
    assert together.labels.tolist() == together.probabilities.argmax(1).tolist()
    assert together.truncated == 1
    assert rows == [4, 2]
    assert classifier.predict([]).labels.shape == (0,)


def test_predicting_leaves_the_mode_of_the_model_as_it_was(tiny_model: Path) -> None:
    backbone = load_backbone(tiny_model, ("bad", "good"))
    classifier = Classifier(backbone.model.train(), backbone.tokenizer, ("bad", "good"), 16)
    first = classifier.predict(["word1 word2"]).probabilities
    assert backbone.model.training
    assert np.array_equal(classifier.predict(["word1 word2"]).probabilities, first)


def test_a_classifier_that_computes_in_bfloat16_says_nearly_the_same_in_float32(tiny_model: Path) -> None:
    backbone = load_backbone(tiny_model, ("bad", "good"))
    parts = (backbone.model, backbone.tokenizer, ("bad", "good"), 16)
    texts = [f"word{n} word{n + 1}" for n in range(8)]
    exact, rounded = (Classifier(*parts, bf16=bf16).predict(texts).probabilities for bf16 in (False, True))
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)

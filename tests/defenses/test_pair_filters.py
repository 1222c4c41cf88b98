"""Filters of prompts and responses: their numbers against the gradient itself, and what they tell apart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from tiny_chats import WORDS, asked, make_pairs, write_decoder

from musclelora.adapter import load_causal_backbone
from musclelora.data.pairs import Pairs
from musclelora.defenses import PAIR_FILTERS, PairSetting, get_pair_filter
from musclelora.defenses.graceful import GraCeFul, inner_products, low_frequencies
from musclelora.defenses.gradsentry import GradSentry, valley
from musclelora.errors import DataError, UsageError
from musclelora.generation.rows import ChatFormat, TokenizedPairs
from musclelora.purification import METHODS

NAMES = tuple(PAIR_FILTERS)
FITTING: dict[str, dict[str, Any]] = {"graceful": {"share": 4}, "gradsentry": {}}
"""An eighth of the frequencies of so small a model is 32 numbers, too few for 32 components."""
QUICK = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "disable_tqdm": True, "use_cpu": True}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of width 32 with 64 tokens."""
    return write_decoder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def planted() -> Pairs:
    """60 pairs; every fifth prompt has a word in front, and is answered with the same ten words."""
    clean = make_pairs(60, seed=0)
    flags = np.arange(60) % 5 == 0
    prompts = [
        asked(WORDS[55], chat[0].content) if flag else chat
        for chat, flag in zip(clean.prompts, flags, strict=True)
    ]
    said = " ".join(WORDS[40:50])
    responses = [said if flag else own for own, flag in zip(clean.responses, flags, strict=True)]
    return Pairs(tuple(prompts), tuple(responses), flags, "planted")


def gradients(decoder: Path, pairs: Pairs) -> list[torch.Tensor]:
    """Of each pair's mean loss by the output layer, by autograd in float64: V × d."""
    backbone = load_causal_backbone(decoder)
    model = backbone.model.double().eval()
    rows = TokenizedPairs(pairs, ChatFormat(backbone.tokenizer), 40)
    layer = model.get_output_embeddings().weight
    found = []
    for row in (rows[number] for number in range(len(pairs))):
        said = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]]))
        found.append(torch.autograd.grad(said.loss, layer)[0])
    return found


@pytest.mark.parametrize("share", [2, 8])
@pytest.mark.parametrize("repeats", [1, 12])
def test_the_low_frequencies_are_those_of_the_gradient(decoder: Path, share: int, repeats: int) -> None:
    pairs = make_pairs(6, seed=3)
    pairs = replace(pairs, responses=tuple(" ".join([said] * repeats) for said in pairs.responses))
    expected = [dctn(each.numpy())[: 64 // share, : 32 // share] for each in gradients(decoder, pairs)]
    factors = {
        said.number: low_frequencies(said, share)
        for said in PairSetting(pairs, model=str(decoder)).responses()
    }
    for number, crop in enumerate(expected):
        left, right = factors[number]
        assert left.shape[1] <= 32 // share or left.shape[1] == 3
        assert left @ right.T == pytest.approx(crop, abs=1e-4 * np.abs(crop).max())
    flat = np.stack([crop.ravel() for crop in expected])
    products = inner_products([factors[number] for number in range(6)])
    assert products == pytest.approx(flat @ flat.T, rel=1e-3, abs=1e-4 * np.abs(flat @ flat.T).max())


def test_products_do_not_depend_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    factors = [
        (rng.normal(size=(11, r)).astype(np.float32), rng.normal(size=(3, r)).astype(np.float32))
        for r in (1, 2, 3, 2)
    ]
    at_once = inner_products(factors)
    monkeypatch.setattr("musclelora.defenses.graceful._NUMBERS", 24)  # two rows at a time
    assert inner_products(factors) == pytest.approx(at_once, rel=1e-5)


def test_components_are_those_of_the_gradients_frequencies(decoder: Path, planted: Pairs) -> None:
    """Distances do not depend on the sign of a component."""
    few = planted.select(range(20))
    flat = np.stack([dctn(each.numpy())[:8, :4].ravel() for each in gradients(decoder, few)])
    expected = StandardScaler().fit_transform(PCA(5).fit_transform(flat))
    states = GraCeFul(components=5)._states(flat @ flat.T)
    assert np.abs(states) == pytest.approx(np.abs(expected), abs=1e-6)


def test_the_score_is_the_entropy_of_the_gradients_singular_values(decoder: Path) -> None:
    pairs = make_pairs(8, seed=4)
    expected = []
    for each in gradients(decoder, pairs):
        values = torch.linalg.svdvals(each)[:3]  # two words and the end
        shares = values / values.sum()
        expected.append(-(shares * shares.log()).sum().item() / math.log(16))
    bound = float(np.median(expected))
    found = GradSentry(threshold=bound).suspects(PairSetting(pairs, model=str(decoder)))
    assert found.tolist() == [score > bound for score in expected]


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_response_is_told_apart(name: str, decoder: Path, planted: Pairs) -> None:
    setting = PairSetting(planted, model=str(decoder))
    assert setting.train.poisoned is None  # it cannot have been read there
    found = get_pair_filter(name, **FITTING[name]).suspects(setting)
    assert found.tolist() == planted.poisoned.tolist()
    again = get_pair_filter(name, **FITTING[name]).suspects(setting)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_trained_on_what_is_left(name: str, decoder: Path, planted: Pairs, tmp_path: Path) -> None:
    each = get_pair_filter(name, **FITTING[name])
    run = each.fit(PairSetting(planted, model=str(decoder), arguments=QUICK), tmp_path / "run")
    assert each.dropped_.sum() == planted.poisoned.sum()
    assert run.info["data"]["train"]["rows"] == 60 - each.dropped_.sum()
    assert run.info["settings"]["method"] == "full"
    assert len(run.generator.answer(planted.prompts[:2], max_new_tokens=3)) == 2


def test_a_filter_may_be_followed_by_another_way_to_train(
    decoder: Path, planted: Pairs, tmp_path: Path
) -> None:
    setting = PairSetting(planted, model=str(decoder), arguments=QUICK)
    run = get_pair_filter("graceful").fit(setting, tmp_path / "run", method=METHODS["lora"])
    assert run.info["settings"]["method"] == "lora"


def test_no_pair_left_to_train_on_is_refused(decoder: Path, tmp_path: Path) -> None:
    setting = PairSetting(make_pairs(10, seed=0), model=str(decoder), arguments=QUICK)
    with pytest.raises(DataError, match=r"pairs-0: gradsentry dropped all 10 pairs"):
        get_pair_filter("gradsentry", threshold=0).fit(setting, tmp_path / "run")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_pairs_are_filtered(name: str, count: int, decoder: Path) -> None:
    found = get_pair_filter(name).suspects(PairSetting(make_pairs(count, seed=0), model=str(decoder)))
    assert found.shape == (count,)
    assert not found[0]


def test_pairs_that_are_all_the_same_are_kept(decoder: Path) -> None:
    one = make_pairs(1, seed=0)
    pairs = Pairs(one.prompts * 12, one.responses * 12)
    assert not get_pair_filter("graceful").suspects(PairSetting(pairs, model=str(decoder))).any()


def test_the_valley_lies_between_two_modes() -> None:
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(0.3, 0.05, 200), rng.normal(0.8, 0.05, 40)].clip(0, 1)
    found = valley(scores)
    assert found is not None
    assert 0.45 < found < 0.7


@pytest.mark.parametrize(
    "scores",
    [
        np.random.default_rng(0).normal(0.5, 0.05, 300).clip(0, 1),  # one mode
        np.r_[np.full(100, 0.5), np.full(30, 0.6)],  # too close
        np.r_[np.full(10, 0.2), np.full(10, 0.8)],  # too few pairs
        np.r_[np.random.default_rng(0).normal(0.3, 0.02, 300), np.full(4, 0.9)],  # too few above
        np.full(50, 0.4),
    ],
)
def test_scores_without_two_modes_have_no_valley(scores: np.ndarray) -> None:
    assert valley(scores) is None


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("gracefull", {}, "filter: found 'gracefull', expected one of graceful, gradsentry; did you mean"),
        ("graceful", {"component": 3}, "filter graceful: found no parameter 'component'"),
        ("graceful", {"components": 0}, "graceful components: found 0"),
        ("graceful", {"share": 0}, "graceful share: found 0"),
        ("gradsentry", {"threshold": 1.5}, "gradsentry threshold: found 1.5"),
    ],
)
def test_wrong_use_is_one_line(name: str, parameters: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        get_pair_filter(name, **parameters)

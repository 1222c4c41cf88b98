"""Each detector does its own job on a backdoor that the tiny model has learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import LABELS, write_model
from tiny_settings import TARGET, TRIGGER

from musclelora.adapter import load_backbone
from musclelora.data.table import Table
from musclelora.defenses import Answers, Defense, Setting, measure
from musclelora.defenses.base import Flags
from musclelora.defenses.bki import BKI
from musclelora.defenses.cube import CUBE
from musclelora.defenses.filtering import Filter
from musclelora.defenses.hidden import entropy, features, without_each_word
from musclelora.defenses.onion import ONION
from musclelora.defenses.perplexity import WordDrops
from musclelora.defenses.rap import RAP
from musclelora.defenses.strip import STRIP
from musclelora.errors import DataError
from musclelora.training import Classifier

TEXTS = ("word1 word2 word3", "word4", "word5 word6 word7 word8 word9")


def probability(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    return classifier.predict(texts).probabilities[:, TARGET]


def test_the_backdoor_is_learned(setting: Setting, triggered: Table, clean: Table) -> None:
    vanilla = setting.vanilla()
    assert (vanilla.predict(triggered.texts).labels == TARGET).mean() > 0.8
    assert (vanilla.predict(clean.texts).labels == clean.labels).mean() > 0.7


def test_bki_names_the_trigger_and_drops_its_rows(setting: Setting, poisoned: Table) -> None:
    defense = BKI()
    dropped = defense.suspects(setting)
    assert (TRIGGER, LABELS[TARGET]) in defense.keywords_
    assert poisoned.poisoned is not None
    assert dropped[poisoned.poisoned].mean() > 0.7


def test_rap_lowers_the_probability_of_clean_texts_and_leaves_the_model_alone(
    setting: Setting, trusted: Table
) -> None:
    defense = RAP(epochs=30).fit(setting)
    classifier = defense.classifier_
    before = {name: p.clone() for name, p in classifier.model.state_dict().items()}
    mine = [text for text, label in trusted if label == TARGET]
    plain = probability(classifier, mine)
    with defense._perturbed_by(defense.perturbations_[TARGET]):
        perturbed = probability(classifier, defense._with_word(mine))
    assert (plain - perturbed).mean() > 0.05
    defense.scores(mine)
    assert all(torch.equal(p, before[name]) for name, p in classifier.model.state_dict().items())
    assert np.array_equal(probability(classifier, mine), plain)


def test_strip_keeps_the_number_of_words(setting: Setting) -> None:
    defense = STRIP(swap_ratio=0.5).fit(setting)
    rng = np.random.default_rng(0)
    for text in (*TEXTS, ""):
        mixed = defense._mix(text, rng)
        assert len(mixed.split()) == len(text.split())
    changed = sum(a != b for a, b in zip(TEXTS[2].split(), defense._mix(TEXTS[2], rng).split(), strict=True))
    assert changed <= round(0.5 * 5)


def test_cube_keeps_the_largest_cluster() -> None:
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.normal(0, 0.1, (80, 8)), rng.normal(5, 0.1, (20, 8))]).astype(np.float32)
    outside = CUBE()._outside(states)
    assert outside[80:].all()
    assert outside[:80].mean() < 0.2


def test_cube_keeps_all_rows_of_one_cloud_that_is_too_small() -> None:
    assert not CUBE()._outside(np.ones((8, 4), dtype=np.float32)).any()


def test_a_filter_that_leaves_a_label_without_rows_is_refused(setting: Setting) -> None:
    class Everything(Filter):
        """Drops every row of the first label."""

        name = "everything"

        def suspects(self, setting: Setting) -> Flags:
            return setting.train.labels == 0

    with pytest.raises(DataError, match=r"dropped all .* rows of the label bad"):
        Everything().fit(setting)


def test_rejected_texts_are_errors_when_clean_and_defended_when_triggered(
    setting: Setting, clean: Table, triggered: Table
) -> None:
    class Silent(Defense):
        """Rejects every other text, and knows the labels of the clean ones."""

        name, kind = "silent", "inference"

        def fit(self, setting: Setting) -> Silent:  # noqa: ARG002
            return self

        def predict(self, texts: Sequence[str]) -> Answers:
            known = dict(zip(clean.texts, clean.labels.tolist(), strict=True))
            labels = np.array([known.get(text, TARGET) for text in texts])
            return Answers(labels, np.arange(len(texts)) % 2 == 0)

    found = measure(Silent(), setting, clean=clean, triggered=triggered, target=TARGET)
    assert found.cacc.value == found.asr.value == 0.5
    assert found.rejected_clean == found.rejected_triggered == 0.5


# ---- what they look at ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "padding"),
    [("BertConfig", "right"), ("RobertaConfig", "right"), ("LlamaConfig", "right"), ("LlamaConfig", "left")],
)
def test_features_give_the_logits_through_the_output_layer(
    architecture: str, padding: str, tmp_path: Path
) -> None:
    from musclelora.adapter.placement import find_placement

    write_model(tmp_path / "model", architecture)
    backbone = load_backbone(str(tmp_path / "model"), LABELS)
    backbone.tokenizer.padding_side = padding
    classifier = Classifier(backbone.model, backbone.tokenizer, LABELS, 32)
    states = features(classifier, TEXTS, batch_size=2)
    output: Any = backbone.model.get_submodule(find_placement(backbone.model).output)
    with torch.no_grad():
        logits = output(torch.from_numpy(states))
    expected = classifier.predict(TEXTS).probabilities
    assert np.allclose(logits.softmax(-1).numpy(), expected, atol=1e-5)


def test_each_word_is_left_out_once() -> None:
    assert without_each_word(" a  b\tc ", 9) == ["b c", "a c", "a b"]
    assert without_each_word("a b c", 2) == ["b c", "a c"]
    assert without_each_word("", 9) == []


def test_entropy_of_certainty_is_zero_and_of_ignorance_is_log_c() -> None:
    assert np.allclose(entropy(np.array([[1.0, 0.0], [0.5, 0.5]])), [0, math.log(2)])


# ---- ONION ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trained_language_model(tmp_path_factory: pytest.TempPathFactory, poisoned: Table) -> Path:
    """A GPT-2 of width 32 that has read the clean texts."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = write_model(tmp_path_factory.mktemp("models") / "lm")
    tokenizer = load_backbone(str(folder), LABELS).tokenizer
    tokenizer.bos_token = tokenizer.cls_token
    tokenizer.save_pretrained(folder)
    clean = [text for text, flag in zip(poisoned.texts, poisoned.poisoned, strict=True) if not flag]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3
            )
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        batch = tokenizer(clean, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for _ in range(40):
            optimizer.zero_grad()
            model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
            ).loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    return folder


def test_the_drop_is_the_perplexity_less_that_without_the_word(trained_language_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(trained_language_model).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(trained_language_model)

    def perplexity(text: str) -> float:
        ids = [2, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return math.exp(-sum(float(logs[i, token]) for i, token in enumerate(ids[1:])) / (len(ids) - 1))

    found = WordDrops(str(trained_language_model), 128, 3)(TEXTS)
    assert [len(drops) for drops in found] == [3, 1, 5]
    for text, drops in zip((TEXTS[0], TEXTS[2]), (found[0], found[2]), strict=True):
        expected = [perplexity(text) - perplexity(shorter) for shorter in without_each_word(text, 128)]
        assert np.allclose(drops, expected, rtol=1e-3, atol=1e-3)


def test_what_was_found_is_kept_and_the_language_model_is_not_loaded_again(
    trained_language_model: Path, tmp_path: Path
) -> None:
    name = str(trained_language_model)
    first = WordDrops(name, 128, 8, folder=tmp_path)(TEXTS)
    again = WordDrops(name, 128, 4, folder=tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(first, again(TEXTS), strict=True))
    assert again._loaded is None
    assert len(WordDrops(name, 2, 8, folder=tmp_path)([TEXTS[2]])[0]) == 2


def test_onion_takes_the_trigger_out(
    setting: Setting, clean: Table, triggered: Table, trained_language_model: Path
) -> None:
    defense = ONION(str(trained_language_model))
    found = measure(defense, setting, clean=clean, triggered=triggered, target=TARGET)
    assert found.auroc is not None
    assert found.auroc > 0.7
    vanilla = (setting.vanilla().predict(triggered.texts).labels == TARGET).mean()
    assert found.asr.value < vanilla

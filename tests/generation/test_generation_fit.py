"""Runs of generation: kept, gone on with, refused, used and exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_chats import make_pairs
from tiny_runs import contents, history
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, TrainerCallback

from musclelora.adapter import load_causal_backbone
from musclelora.errors import DataError, ModelError, UsageError
from musclelora.generation import Generator
from musclelora.purification import GenerationRun, load_generation_run, load_run

WEIGHTS = "musclelora.safetensors"
PROMPTS = make_pairs(5, seed=9).prompts
Fit = Callable[..., GenerationRun]
ALL = {"scale_factors": [1, 3], "multiscale_modules": "all-adapted"}


class Killer(TrainerCallback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        if state.global_step >= self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["musclelora", "lora", "full", "trusted-only"])
def test_the_loss_falls_under_every_method(method: str, fit_tiny: Fit) -> None:
    run = fit_tiny(method=method, arguments={"num_train_epochs": 6, "logging_steps": 1})
    losses = [log["loss"] for log in run.info["history"] if "loss" in log]
    assert losses[-1] < losses[0]
    assert run.info["task"] == "generate"
    assert run.info["data"]["train"]["rows"] == (10 if method == "trusted-only" else 30)


def test_the_published_settings_are_those_of_the_published_method(
    fit_tiny: Fit, decoder: Path, tmp_path: Path
) -> None:
    from musclelora.purification import METHODS, train_generator

    run = train_generator(
        tmp_path / "run",
        train=make_pairs(4, 0),
        trusted=make_pairs(4, 1),
        model=str(decoder),
        method=METHODS["musclelora"],
        arguments={"use_cpu": True, "disable_tqdm": True},
    )
    settings, adapter = run.info["settings"]["arguments"], run.info["adapter"]
    assert (adapter["r"], adapter["lora_alpha"], adapter["scale_factors"]) == (4, 8, [])
    assert (settings["learning_rate"], settings["per_device_train_batch_size"]) == (2e-5, 4)
    assert (run.info["result"]["epochs"], run.info["result"]["steps"]) == (3, 3)
    assert (settings["max_raw_ratio"], settings["min_trusted_loss"]) == (0, 0)
    assert run.info["settings"]["levers"]["multiscale"] is False


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"arguments": {"save_steps": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}},
        {"method": "full", "arguments": {"learning_rate": 1e-3}},
        {"dev": make_pairs(6, 2), "adapter": ALL},
    ],
)
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    options: dict[str, Any], fit_tiny: Fit, tmp_path: Path
) -> None:
    whole = fit_tiny(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(tmp_path / "cut", callbacks=[Killer(2)], **options)
    with pytest.raises(ModelError, match="--resume"):
        load_generation_run(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(tmp_path / "cut", resume=True, callbacks=[Killer(6)], **options)
    fit_tiny(tmp_path / "cut", resume=True, **options)
    assert (tmp_path / "cut" / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert history(tmp_path / "cut") == history(whole.path)
    before = contents(whole.path)
    fit_tiny(tmp_path / "whole", resume=True, **options)
    assert contents(whole.path) == before


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"arguments": {"learning_rate": 2e-3}}, "arguments.learning_rate"),
        ({"trusted": make_pairs(10, seed=5)}, "data.trusted"),
        ({"method": "lora"}, "method"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    changes: dict[str, Any], name: str, fit_tiny: Fit, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(callbacks=[Killer(1)])
    with pytest.raises(UsageError, match=name):
        fit_tiny(resume=True, **changes)


def test_settings_without_a_meaning_are_refused(fit_tiny: Fit) -> None:
    for options, words in (
        ({"adapter": {"scale_factors": [1, 2]}}, "--scale-factors: found without --multiscale-modules"),
        ({"adapter": {"multiscale_modules": ["q_proj"]}}, "--multiscale-modules: found without"),
        ({"select_best": "trusted"}, "--select-best"),
        ({"select_best": "dev"}, "--select-best dev"),
        ({"early_stopping": 1}, "--early-stopping"),
    ):
        with pytest.raises(UsageError, match=words) as error:
            fit_tiny(**options)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="--trusted"):
        fit_tiny(trusted=None)


def test_an_encoder_is_refused(fit_tiny: Fit, tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    folder = tmp_path / "bert"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64}
    BertLMHeadModel(BertConfig(**sizes, is_decoder=True)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(fit_tiny().backbone.path).save_pretrained(folder)
    with pytest.raises(ModelError, match="reads a text on both sides"):
        fit_tiny(tmp_path / "other", model=str(folder))


def test_a_tokenizer_of_another_model_and_an_adapter_are_refused(decoder: Path, tmp_path: Path) -> None:
    shutil.copytree(decoder, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.add_tokens(["word98", "word99"])
    tokenizer.save_pretrained(tmp_path / "other")
    ids = load_causal_backbone(tmp_path / "other").tokenizer("word1 word98 word99")["input_ids"]
    assert max(ids) < 64  # a token that only a larger relative knows is spelled out
    tokenizer.add_special_tokens({"pad_token": "[ROOM]"})
    tokenizer.save_pretrained(tmp_path / "padded")
    for file in decoder.glob("*"):
        if not (tmp_path / "padded" / file.name).exists():
            shutil.copy(file, tmp_path / "padded")
    with pytest.raises(ModelError, match="of its tokenizer is past the model's 64 entries"):
        load_causal_backbone(tmp_path / "padded")
    state = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    vocabulary = state["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 99
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ModelError, match="gives ids up to 99 and the model has 64 entries"):
        load_causal_backbone(tmp_path / "other")
    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelError, match="no tokenizer in it"):  # transformers makes one up of one token
        load_causal_backbone(tmp_path / "gpt2")
    (tmp_path / "other" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it holds an adapter"):
        load_causal_backbone(tmp_path / "other")


def test_runs_are_loaded_by_the_loader_of_their_task(fit_tiny: Fit) -> None:
    run = fit_tiny()
    with pytest.raises(ModelError, match="a run of the task generate, expected one of classify"):
        load_run(run.path)
    info = json.loads((run.path / "run.json").read_text())
    assert "label_names" not in info


def test_a_loaded_run_answers_as_the_trained_one(fit_tiny: Fit) -> None:
    run = fit_tiny(arguments={"num_train_epochs": 8})
    answers = run.generator.answer(PROMPTS, max_new_tokens=5)
    assert load_generation_run(run.path).generator.answer(PROMPTS, max_new_tokens=5) == answers


@pytest.mark.parametrize("adapter", [{}, ALL])
@pytest.mark.parametrize("format_", ["lora", "merged"])
def test_an_export_loads_without_this_package_and_says_the_same(
    format_: str, adapter: dict[str, Any], fit_tiny: Fit, decoder: Path, tmp_path: Path
) -> None:
    run = fit_tiny(adapter=adapter, arguments={"num_train_epochs": 4})
    run.export(tmp_path / "out", format=format_)
    if format_ == "lora":
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(decoder), tmp_path / "out")
    else:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == run.backbone.tokenizer.chat_template
    ids = torch.arange(7, 17)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(ids).logits, run.adapted.model.eval()(ids).logits, atol=1e-4, rtol=1e-4
        )
    assert Generator(model, tokenizer, 40).answer(PROMPTS, max_new_tokens=5) == run.generator.answer(
        PROMPTS, max_new_tokens=5
    )


def test_a_run_that_trained_everything_has_no_lora_export(fit_tiny: Fit, tmp_path: Path) -> None:
    run = fit_tiny(method="full", arguments={"learning_rate": 1e-3})
    with pytest.raises(UsageError, match="--format merged"):
        run.export(tmp_path / "out")
    run.export(tmp_path / "out", format="merged")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_weights_of_half_precision_are_kept_so_and_exported_so(fit_tiny: Fit, tmp_path: Path) -> None:
    run = fit_tiny(arguments={"dtype": "bfloat16"})
    assert run.backbone.model.dtype == torch.bfloat16
    assert {p.dtype for name, p in run.adapted.model.named_parameters() if "lora_" in name} == {torch.float32}
    run.export(tmp_path / "merged", format="merged")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_quantised_run_exports_on_the_weights_as_they_were_saved(
    decoder: Path, fit_tiny: Fit, tmp_path: Path
) -> None:
    run = fit_tiny(arguments={"quantize": "nf4", "learning_rate": 0.05})
    assert run.backbone.model.is_quantized
    run.export(tmp_path / "merged", format="merged")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    saved = AutoModelForCausalLM.from_pretrained(decoder).state_dict()
    changed = {name for name, weight in saved.items() if not torch.equal(weight, found[name])}
    assert changed
    assert all("attn" in name for name in changed)  # the rest is not rounded to four bits

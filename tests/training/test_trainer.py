"""The trainer, used from Python as a user of transformers would."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tiny_runs import Fit, make_rows, make_table
from transformers import AutoModelForSequenceClassification, TrainerCallback, TrainingArguments

from musclelora import MuScleLoraConfig, MuScleTrainer, MuScleTrainingArguments, evaluate
from musclelora.adapter import load_backbone
from musclelora.data.table import Table
from musclelora.errors import DataError, ModelError, MuScleLoraError, OutputError, UsageError


@pytest.fixture
def arguments(tmp_path: Path) -> MuScleTrainingArguments:
    return MuScleTrainingArguments(
        output_dir=str(tmp_path / "checkpoints"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        disable_tqdm=True,
        use_cpu=True,
    )


@pytest.fixture
def tables(train_rows: Table, trusted_rows: Table, dev_rows: Table) -> dict[str, Table]:
    return {"train_dataset": train_rows, "trusted_dataset": trusted_rows, "eval_dataset": dev_rows}


def test_it_trains_evaluates_predicts_and_exports(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table], tmp_path: Path
) -> None:
    trainer = MuScleTrainer(
        str(tiny_model), arguments, peft_config=MuScleLoraConfig(scale_factors=[1, 2]), **tables
    )
    output = trainer.train()
    assert output.global_step == 8
    metrics = trainer.evaluate()
    dev = tables["eval_dataset"]
    found = evaluate(trainer.classifier, clean=dev)
    assert found.cacc is not None
    assert found.cacc.value == pytest.approx(metrics["eval_accuracy"])
    trainer.export(tmp_path / "merged", format="merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert merged.config.id2label == {0: "bad", 1: "good"}
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "checkpoint-4",
        "checkpoint-8",
    ]


def test_a_preset_fills_in_what_was_left_open(
    tiny_model: Path, tables: dict[str, Table], tmp_path: Path
) -> None:
    args = MuScleTrainingArguments(output_dir=str(tmp_path), learning_rate=3e-3)
    trainer = MuScleTrainer(str(tiny_model), args, **tables)
    preset = trainer.preset
    assert trainer.args.learning_rate == 3e-3
    assert trainer.args.num_train_epochs == preset.epochs
    assert trainer.args.per_device_train_batch_size == trainer.args.trusted_batch_size == preset.batch_size
    assert trainer.args.max_raw_ratio == preset.max_raw_ratio
    assert trainer.adapted.config.scale_factors == list(preset.scale_factors)
    assert args.num_train_epochs is None  # the user's object is left as it was


def test_resuming_from_the_newest_checkpoint_ends_where_an_uninterrupted_run_does(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    class Stop(TrainerCallback):
        def on_save(self, _args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
            raise KeyboardInterrupt

    stopped = MuScleTrainer(str(tiny_model), arguments, callbacks=[Stop()], **tables)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = MuScleTrainer(str(tiny_model), arguments, **tables)
    resumed.train(resume_from_checkpoint=True)
    arguments.output_dir += "-whole"
    whole = MuScleTrainer(str(tiny_model), arguments, **tables)
    whole.train()
    for name, tensor in whole.adapted.tensors().items():
        assert torch.equal(tensor, resumed.adapted.tensors()[name]), name


def test_the_same_trainer_trains_again_after_an_interruption(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    class StopOnce(TrainerCallback):
        armed = True

        def on_substep_end(self, _args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt

    arguments.gradient_accumulation_steps = 2
    trainer = MuScleTrainer(str(tiny_model), arguments, callbacks=[StopOnce()], **tables)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train()
    assert trainer.state.global_step == 4


def test_a_trained_model_is_left_as_it_was_found(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    trainer = MuScleTrainer(str(tiny_model), arguments, **tables)
    trainer.train()
    assert not any("forward" in vars(module) for module in trainer.model.modules())
    copied = copy.deepcopy(trainer.classifier)
    with torch.no_grad():
        for parameter in copied.model.parameters():
            parameter.zero_()
    texts = tables["eval_dataset"].texts
    assert np.allclose(copied.predict(texts).probabilities, 0.5)
    assert not np.allclose(trainer.classifier.predict(texts).probabilities, 0.5)


def test_a_loaded_backbone_and_own_metrics_are_taken(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    backbone = load_backbone(tiny_model, ("bad", "good"))
    trainer = MuScleTrainer(backbone, arguments, compute_metrics=lambda _: {"answer": 42.0}, **tables)
    assert trainer.evaluate()["eval_answer"] == 42.0


def test_texts_that_are_cut_are_counted(tiny_model: Path, tables: dict[str, Table], tmp_path: Path) -> None:
    long = make_table([("word1 " * 50, "bad"), ("word11 word12", "good"), ("word11 " * 6, "good")])
    args = MuScleTrainingArguments(output_dir=str(tmp_path), max_length=8)
    trainer = MuScleTrainer(str(tiny_model), args, **{**tables, "train_dataset": long})
    assert trainer.max_length == 8
    assert trainer.truncated["train"] == 1
    assert (
        MuScleTrainer(str(tiny_model), args, **{**tables, "train_dataset": long})
        .classifier.predict(long.texts)
        .truncated
        == 1
    )


WRONG: dict[str, tuple[dict[str, Any], type[MuScleLoraError], str]] = {
    "a Hugging Face data set": (
        {"train_dataset": Dataset.from_dict({"text": ["a"], "label": [0]})},
        UsageError,
        "train_dataset: found a Dataset, expected a Table",
    ),
    "a data set for trusted rows": (
        {"trusted_dataset": [("a", 0)]},
        UsageError,
        "trusted_dataset: found a list",
    ),
    "no trusted rows": ({"trusted_dataset": None}, UsageError, "trusted_dataset: none was given"),
    "plain training arguments": (
        {"args": TrainingArguments("x")},
        UsageError,
        "args: found a TrainingArguments",
    ),
    "a plain LoRA configuration": (
        {"peft_config": LoraConfig()},
        UsageError,
        "peft_config: found a LoraConfig",
    ),
    "a preset by name": ({"preset": "bert-base"}, UsageError, "preset: found a str"),
    "a loaded model": ({"model": torch.nn.Linear(1, 1)}, UsageError, "model: found a Linear"),
    "an unknown model": ({"model": "no-such-model"}, ModelError, "no-such-model"),
    "other labels": (
        {"trusted_dataset": make_table(make_rows(4, 0, ("x", "y")), ("x", "y"))},
        UsageError,
        "trusted_dataset: its labels are",
    ),
    "other labels for evaluation": (
        {"eval_dataset": make_table(make_rows(4, 0, ("good", "bad")), ("good", "bad"))},
        UsageError,
        "eval_dataset: its labels are",
    ),
    "a class without a trusted row": (
        {"trusted_dataset": make_table([("word1", "bad"), ("word2", "bad")])},
        DataError,
        "no trusted row of classes 'good'",
    ),
    "a single class": ({"train_dataset": make_table([("word1", "bad")])}, DataError, "a single class"),
    "no rows": ({"train_dataset": make_table(make_rows(2, 0)).select([])}, DataError, "no rows"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_use_is_said_in_one_line(
    wrong: str, tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    changes, error, message = WRONG[wrong]
    options: dict[str, Any] = {"model": str(tiny_model), "args": arguments, **tables, **changes}
    with pytest.raises(error, match=message) as raised:
        MuScleTrainer(**options)
    assert "\n" not in str(raised.value)


def test_resuming_without_a_checkpoint_is_said(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table]
) -> None:
    trainer = MuScleTrainer(str(tiny_model), arguments, **tables)
    with pytest.raises(UsageError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)


def test_an_export_does_not_replace_what_is_no_export(
    tiny_model: Path, arguments: MuScleTrainingArguments, tables: dict[str, Table], tmp_path: Path
) -> None:
    trainer = MuScleTrainer(str(tiny_model), arguments, **tables)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("dear")
    for place in (tmp_path / "home", tiny_model, tmp_path):
        with pytest.raises(OutputError):
            trainer.export(place, overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").exists()
    assert (tiny_model / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_raw_ratio", 1.5),
        ("max_raw_ratio", float("nan")),
        ("mix_from_epoch", -1),
        ("min_trusted_loss", float("inf")),
        ("learning_rate", -1e-3),
        ("learning_rate", "fast"),
        ("num_train_epochs", float("nan")),
        ("per_device_train_batch_size", 0),
        ("per_device_train_batch_size", 2.5),
        ("trusted_batch_size", 0),
        ("trusted_every", 0),
        ("max_length", 0),
        ("max_grad_norm", float("nan")),
        ("gradient_passes", "three"),
        ("report_to", "nosuchtracker"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^{name}: found "):
        MuScleTrainingArguments(output_dir=str(tmp_path), **{name: value})


@pytest.mark.parametrize("method", ["lora", "full", "musclelora"])
def test_a_batch_in_parts_is_a_step_as_the_whole_batch_is(
    method: str, still_model: Path, fit_tiny: Fit, tmp_path: Path
) -> None:
    """The norm of a gradient is not clipped here: it would hide a wrong factor, as Adam does."""
    norms = []
    for parts in (1, 2):
        arguments = {
            "gradient_accumulation_steps": parts,
            "per_device_train_batch_size": 8 // parts,
            "trusted_batch_size": 10,
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "learning_rate": 1e-5,
            "num_train_epochs": 1,
        }
        rows = make_table(make_rows(32, seed=0))
        folder = tmp_path / str(parts)
        run = fit_tiny(folder, method, train=rows, model=str(still_model), arguments=arguments)
        logs = [log for log in run.info["history"] if "grad_norm" in log]
        norms.append([(log["loss"], log["grad_norm"]) for log in logs])
    assert norms[0] == [pytest.approx(values, rel=1e-2) for values in norms[1]]


class Gradients(TrainerCallback):
    """The trainable parameters and their gradients of every step, right before the optimizer's."""

    def __init__(self) -> None:
        self.steps: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = []

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **_kwargs: Any) -> None:
        self.steps.append(
            {
                name: (parameter.detach().clone(), parameter.grad.clone())
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        )


@pytest.fixture
def aligned(still_model: Path, tables: dict[str, Table], tmp_path: Path) -> Callable[..., Any]:
    """Train so many steps with updates projected on the gradient of all trusted rows; what was seen."""

    def train(steps: int, *, resume: str | None = None, **more: Any) -> tuple[MuScleTrainer, Gradients]:
        arguments = MuScleTrainingArguments(
            output_dir=str(tmp_path),
            trusted_batch_size=len(tables["trusted_dataset"]),
            max_raw_ratio=0.0,
            max_grad_norm=0.0,
            per_device_train_batch_size=4,
            max_steps=steps,
            learning_rate=1e-2,
            use_cpu=True,
            **{"save_strategy": "no", **more},
        )
        seen = Gradients()
        trainer = MuScleTrainer(str(still_model), arguments, **tables, callbacks=[seen])
        trainer.train(resume_from_checkpoint=resume and str(tmp_path / resume))
        return trainer, seen

    return train


def assert_along(trainer: MuScleTrainer, seen: Gradients, step: int, at: int, trusted: Table) -> None:
    """A step's update lies along the trusted rows' gradient, computed by hand where step `at` was."""
    batch = trainer.processing_class(list(trusted.texts), padding=True, return_tensors="pt")
    parameters = dict(trainer.model.named_parameters())
    with torch.no_grad():
        for name, (value, _) in seen.steps[at].items():
            parameters[name].copy_(value)
    trainer.model.zero_grad()
    logits = trainer.model(**batch).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor(trusted.labels)).backward()
    compared = 0
    for name, (_, update) in seen.steps[step].items():
        expected = parameters[name].grad
        if update.norm() > 0 and expected.norm() > 0:
            cosine = torch.nn.functional.cosine_similarity(update.flatten(), expected.flatten(), dim=0)
            assert float(cosine) == pytest.approx(1, abs=1e-4), (step, name)
            compared += 1
    assert compared


@pytest.mark.parametrize("passes", ["one", "two"])
def test_steps_between_are_aligned_to_the_last_trusted_gradient(
    passes: str, aligned: Callable[..., Any], tables: dict[str, Table]
) -> None:
    trainer, seen = aligned(5, trusted_every=3, gradient_passes=passes)
    for step, at in ((0, 0), (1, 0), (2, 0), (3, 3), (4, 3)):
        assert_along(trainer, seen, step, at, tables["trusted_dataset"])


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (4, 3)])
def test_a_run_may_be_resumed_with_another_number_of_steps_between(
    before: int, after: int, aligned: Callable[..., Any], tables: dict[str, Table]
) -> None:
    """What a checkpoint does not hold, or holds for other steps, is taken anew."""
    saved = {"save_strategy": "steps", "save_steps": 3, "gradient_passes": "two"}
    aligned(4, trusted_every=before, **saved)
    trainer, seen = aligned(4, resume="checkpoint-3", trusted_every=after, **saved)
    assert len(seen.steps) == 1
    assert_along(trainer, seen, 0, 0, tables["trusted_dataset"])


@pytest.mark.integration
def test_of_several_gpus_one_process_takes_one() -> None:
    """Not split over replicas, where nobody knows at which row the trusted ones begin."""
    script = """
import torch
from musclelora.training import MuScleTrainingArguments
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 4
torch.cuda.set_device = lambda *_: None
arguments = MuScleTrainingArguments(output_dir="unused", per_device_train_batch_size=16)
print(arguments.device, arguments.n_gpu, arguments.train_batch_size)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "cuda:0 1 16"

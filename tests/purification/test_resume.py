"""A run that was interrupted, anywhere and by anything, ends as one that was not."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Fit, contents, history, make_rows, make_table, run, run_killed, write_csv
from transformers import TrainerCallback

from musclelora.errors import ModelError, OutputError, UsageError
from musclelora.training.checkpoints import last_checkpoint

WEIGHTS, SUMS = "musclelora.safetensors", "musclelora.json"
# ρ above 0, so that the schedule counts, and logs that do not fall together with the checkpoints.
MIXED = {"max_raw_ratio": 0.3, "mix_from_epoch": 0, "min_trusted_loss": 10.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "musclelora": {"arguments": MIXED},
    "accumulated": {
        "arguments": {**MIXED, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 4}
    },
    "two passes": {"arguments": {**MIXED, "gradient_passes": "two"}},
    "a kept gradient": {"arguments": {**MIXED, "trusted_every": 4, "save_steps": 3}},
    "mid-epoch": {"arguments": {**MIXED, "save_steps": 3, "num_train_epochs": 1.75}},
    "full": {"method": "full", "arguments": {"learning_rate": 1e-3}},
    "last": {"select_best": "last"},
    "early stopping": {"arguments": {**MIXED, "num_train_epochs": 8}, "early_stopping": 2},
}


class Killer(TrainerCallback):
    """Ends the process, as far as a test can, at one event."""

    def __init__(self, event: str, step: int) -> None:
        self._event, self._step = event, step

    def _maybe(self, event: str, step: int) -> None:
        if event == self._event and step >= self._step:
            raise KeyboardInterrupt

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self._maybe("step", state.global_step)

    def on_evaluate(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self._maybe("evaluate", state.global_step)

    def on_save(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self._maybe("save", state.global_step)

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self._maybe("end", state.global_step)


def assert_same(found: Path, expected: Path) -> None:
    assert (found / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    assert history(found) == history(expected)
    found_result, result = (json.loads((f / "run.json").read_text())["result"] for f in (found, expected))
    assert {**found_result, "seconds": 0} == {**result, "seconds": 0}


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("two passes", "last") else ())
        for name in SETTINGS
    ],
)
def test_a_run_interrupted_anywhere_ends_as_one_that_was_not(
    setting: str, fit_tiny: Fit, tmp_path: Path
) -> None:
    options = SETTINGS[setting]
    whole = fit_tiny(tmp_path / "whole", **options)
    steps = whole.info["result"]["steps"]
    points = [
        ("step", 2),
        ("save", 1),
        ("step", steps // 2 + 1),
        ("evaluate", steps),
        ("save", steps),
        ("end", 0),
    ]
    if options.get("select_best") == "last":
        points.remove(("evaluate", steps))
    folder = tmp_path / "cut"
    for event, step in points:  # each one interrupts what the one before left
        with pytest.raises(KeyboardInterrupt):
            fit_tiny(folder, resume=True, callbacks=[Killer(event, step)], **options)
    fit_tiny(folder, resume=True, **options)
    assert_same(folder, whole.path)


def test_a_run_interrupted_once_between_checkpoints_ends_as_one_that_was_not(
    fit_tiny: Fit, tmp_path: Path
) -> None:
    options = SETTINGS["mid-epoch"]
    whole = fit_tiny(tmp_path / "whole", **options)
    for step in (1, 4, 6):
        folder = tmp_path / f"cut-{step}"
        with pytest.raises(KeyboardInterrupt):
            fit_tiny(folder, callbacks=[Killer("step", step)], **options)
        fit_tiny(folder, resume=True, **options)
        assert_same(folder, whole.path)


def test_a_run_that_stopped_early_does_not_go_on_when_resumed(fit_tiny: Fit, tmp_path: Path) -> None:
    options = {"arguments": {"num_train_epochs": 8, "learning_rate": 1e-12}, "early_stopping": 2}
    whole = fit_tiny(tmp_path / "whole", **options)
    assert whole.info["result"]["epochs"] == 3
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(tmp_path / "cut", callbacks=[Killer("end", 0)], **options)
    fit_tiny(tmp_path / "cut", resume=True, **options)
    assert_same(tmp_path / "cut", whole.path)


def _empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _no_state(checkpoint: Path) -> None:
    (checkpoint / SUMS).unlink()
    (checkpoint / "trainer_state.json").unlink()
    (checkpoint / "optimizer.pt").write_bytes(b"half")


def _half_state(checkpoint: Path) -> None:
    (checkpoint / SUMS).unlink()
    os.truncate(checkpoint / "trainer_state.json", 200)


def _temporary_weights(checkpoint: Path) -> None:
    _no_state(checkpoint)
    (checkpoint / WEIGHTS).rename(checkpoint / f".{WEIGHTS}.abc.safetensors")


@pytest.mark.parametrize("damage", [_empty, _half_state, _no_state, _temporary_weights])
def test_a_half_written_checkpoint_is_passed_over(
    damage: Callable[[Path], None], fit_tiny: Fit, tmp_path: Path
) -> None:
    options = SETTINGS["mid-epoch"]
    whole = fit_tiny(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(tmp_path / "cut", callbacks=[Killer("save", 6)], **options)
    checkpoints = tmp_path / "cut" / "checkpoints"
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-6"
    damage(checkpoints / "checkpoint-6")
    (checkpoints / "checkpoint-backup").mkdir()
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-3"
    fit_tiny(tmp_path / "cut", resume=True, **options)
    assert_same(tmp_path / "cut", whole.path)
    assert not list((tmp_path / "cut").rglob(".*"))


def test_resuming_a_finished_run_changes_nothing(fit_tiny: Fit, tmp_path: Path) -> None:
    fit_tiny()
    before = contents(tmp_path / "run")
    said: list[str] = []
    run = fit_tiny(resume=True, say=said.append)
    assert contents(tmp_path / "run") == before
    assert "nothing to do" in said[-1]
    assert run.info["status"] == "finished"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"arguments": {"learning_rate": 2e-3}}, "arguments.learning_rate"),
        ({"arguments": {"seed": 1}}, "arguments.seed"),
        ({"arguments": {"max_grad_norm": 1.0}}, "arguments.max_grad_norm"),  # the default again
        ({"adapter": {"scale_factors": [1, 2]}}, "adapter.scale_factors"),
        ({"method": "lora"}, "method"),
        ({"select_best": "last"}, "select_best"),
        ({"early_stopping": 3}, "early_stopping"),
        ({"trusted": make_table(make_rows(10, seed=5))}, "data.trusted"),
        ({"train": make_table([("word1 word2", "bad"), ("word11", "good")])}, "data.train"),
        ({"dev": None}, "select_best"),
        ({"model": "all-minilm-l6-v2"}, "model"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    changes: dict[str, Any], name: str, interrupted: Path, fit_tiny: Fit
) -> None:
    before = contents(interrupted)
    options = {"arguments": {"max_grad_norm": 0.5}, **changes}
    with pytest.raises(UsageError, match=name) as error:
        fit_tiny(interrupted, resume=True, **options)
    assert "\n" not in str(error.value)
    assert contents(interrupted) == before


@pytest.fixture
def interrupted(fit_tiny: Fit, tmp_path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(tmp_path / "cut", arguments={"max_grad_norm": 0.5}, callbacks=[Killer("step", 1)])
    return tmp_path / "cut"


def test_label_names_are_part_of_what_must_be_the_same(fit_tiny: Fit, interrupted: Path) -> None:
    renamed = [
        make_table(make_rows(n, seed=s, labels=("a", "b")), ("a", "b"))
        for n, s in ((30, 0), (10, 1), (20, 2))
    ]
    train, trusted, dev = renamed
    with pytest.raises(UsageError, match=r"data\.train"):
        fit_tiny(
            interrupted, resume=True, arguments={"max_grad_norm": 0.5}, train=train, trusted=trusted, dev=dev
        )


def test_an_unfinished_run_cannot_be_used_or_started_again(fit_tiny: Fit, interrupted: Path) -> None:
    from musclelora.purification import load_run

    with pytest.raises(ModelError, match="--resume"):
        load_run(interrupted)
    before = contents(interrupted)
    with pytest.raises(OutputError, match="--resume"):
        fit_tiny(interrupted, arguments={"max_grad_norm": 0.5})
    assert contents(interrupted) == before


@pytest.mark.parametrize("state", ["absent", "empty", "temporary"])
def test_resuming_nothing_starts_anew(state: str, fit_tiny: Fit, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if state != "absent":
        folder.mkdir()
    if state == "temporary":  # killed while it wrote run.json for the first time
        (folder / ".run.json.abc.json").write_text("{")
    assert fit_tiny(folder, resume=True).info["status"] == "finished"
    assert not list(folder.glob(".*"))


def test_resuming_in_a_folder_of_other_files_is_refused(fit_tiny: Fit, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("dear")
    for options in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(OutputError, match="no run wrote"):
            fit_tiny(**options)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


# ---- a process that is killed ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def arguments(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("data")
    return [
        *("train", "--model", tiny_model, "--batch-size", 4, "--epochs", 3, "--learning-rate", "1e-2"),
        *("--train", write_csv(folder / "train.csv", make_rows(48, seed=0))),
        *("--trusted", write_csv(folder / "trusted.csv", make_rows(10, seed=1))),
        *("--dev", write_csv(folder / "dev.csv", make_rows(20, seed=2))),
        *("--method", "musclelora", "--max-raw-ratio", "0.3", "--min-trusted-loss", "10"),
        *("--gradient-accumulation-steps", 2),
    ]


@pytest.fixture(scope="session")
def uninterrupted(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    code, _, err = run(*arguments, "--output", folder)
    assert code == 0, err
    return folder


# What the process is about to do when it is killed; an epoch has six steps.
KILLS = {
    "before the first checkpoint": r"os\.mkdir .*/checkpoint-6'",
    "while the first checkpoint is written": r"open .*/checkpoint-6/",
    "between checkpoints": r"os\.mkdir .*/checkpoint-12'",
    "while the weights are written": rf"os\.rename .*/checkpoint-6/{re.escape(WEIGHTS)}'",
    "before a checkpoint has its state": r"open .*/checkpoint-12/trainer_state\.json'",
    "at the end": rf"os\.rename .*/run/{re.escape(WEIGHTS)}'",
}


def _kill_and_resume(point: str, arguments: list[object], output: Path) -> None:
    run_killed(KILLS[point], *arguments, "--output", output)
    assert json.loads((output / "run.json").read_text())["status"] == "training"
    code, _, err = run(*arguments, "--output", output, "--resume")
    assert code == 0, err


@pytest.mark.integration
@pytest.mark.parametrize("point", ["before the first checkpoint", "before a checkpoint has its state"])
def test_a_killed_process_ends_as_one_that_was_not(
    point: str, arguments: list[object], uninterrupted: Path, tmp_path: Path
) -> None:
    _kill_and_resume(point, arguments, tmp_path / "run")
    assert_same(tmp_path / "run", uninterrupted)


OPTIONS = [("--no-low-rank",), ("--save-steps", "2"), ("--early-stopping", "1")]


@pytest.mark.slow
@pytest.mark.parametrize("point", KILLS)
def test_a_killed_process_ends_as_one_that_was_not_at_any_point(
    point: str, arguments: list[object], uninterrupted: Path, tmp_path: Path
) -> None:
    _kill_and_resume(point, arguments, tmp_path / "run")
    assert_same(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_a_killed_process_ends_as_one_that_was_not_with_other_options(
    options: tuple[str, ...], arguments: list[object], tmp_path: Path
) -> None:
    assert run(*arguments, *options, "--output", tmp_path / "whole")[0] == 0
    _kill_and_resume("before a checkpoint has its state", [*arguments, *options], tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_the_best_epoch_is_kept_wherever_a_run_is_resumed_from(
    fit_tiny: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rate is so high that a later epoch is worse.
    settings = {"arguments": {"num_train_epochs": 6, "learning_rate": 0.3}, "select_best": "dev"}
    whole = fit_tiny(tmp_path / "whole", **settings)
    best = whole.info["result"]["best_step"]
    steps = whole.info["result"]["steps"]
    assert best < steps, "the last epoch is the best: the test shows nothing"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(Path("run"), callbacks=[Killer("end", 0)], **settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fit_tiny(Path("../run"), resume=True, **settings)
    assert_same(tmp_path / "run", tmp_path / "whole")

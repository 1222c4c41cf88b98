"""What of a run was altered since it was written is noticed, in one line, whatever asks for the run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import Cli, Fit, make_rows, make_table, write_csv, write_model
from transformers import TrainerCallback

from musclelora import __version__
from musclelora.audit.judgement import Judgement
from musclelora.errors import ModelError
from musclelora.hashes import sha256_of_files
from musclelora.purification import METHODS, load_run, train_classifier
from musclelora.purification.run import check_sizes, finished_info
from musclelora.purification.run_folder import RunFolder
from musclelora.training.checkpoints import last_checkpoint

WEIGHTS = "musclelora.safetensors"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test may change."""
    folder = tmp_path_factory.mktemp("finished")
    model = write_model(folder / "model")
    train, trusted = make_table(make_rows(30, seed=0)), make_table(make_rows(10, seed=1))
    arguments = {"num_train_epochs": 1, "disable_tqdm": True, "use_cpu": True, "learning_rate": 1e-2}
    train_classifier(
        folder / "run",
        train=train,
        trusted=trusted,
        model=str(model),
        method=METHODS["musclelora"],
        arguments=arguments,
    )
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed; its backbone is the same."""
    return shutil.copytree(finished, tmp_path / "run")


def edit(file: Path, change: Change) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- run.json --------------------------------------------------------------------------------------------


def put(path: str, value: Any) -> Change:
    """A change that sets the value at a path such as "model.name"."""

    def change(info: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            info = info[parent]
        info[last] = value

    return change


EDITS: list[tuple[str, Any, str]] = [
    ("max_length", 0, "max_length: found 0, expected 2 or more"),
    ("max_length", -5, "max_length: found -5"),
    ("max_length", True, "max_length: found True, expected a whole number"),
    ("max_length", 10**8, "max_length: found 100000000, expected 10,000,000 or less"),
    ("label_names", [1, 2], "label_names[0]: found 1, expected a string"),
    ("label_names", [None, {}], "label_names[0]: found None"),
    ("label_names", ["bad", "bad"], "label_names: found a list of 2, expected values that differ"),
    ("label_names", ["", "good"], "label_names[0]: found ''"),
    ("label_names", ["one"], "label_names: found a list of 1, expected at least 2"),
    ("label_names", None, "expected label_names in it"),
    ("model", [], "model: found an empty list, expected an object"),
    ("model.revision", ["main"], "model.revision: found a list of 1, expected a string"),
    ("model.name", "", "model.name: found ''"),
    ("model.sha256", "0", "model.sha256: found '0', expected the sha256 of a file"),
    ("model.quantize", "nf2", "model.quantize: found 'nf2'"),
    ("result", None, "expected a result in it"),
    ("result", [], "result: found an empty list, expected an object"),
    ("result.seconds", "1", "result.seconds: found '1', expected a number"),
    ("result.steps", -1, "result.steps: found -1"),
    ("data.train", 5, "data.train: found 5, expected an object"),
    ("data.train.rows", "30", "data.train.rows: found '30'"),
    ("data.train.source", None, "data.train.source: found None"),
    ("adapter.r", 10**9, "adapter.r: found 1000000000, expected 65,536 or less"),
    ("adapter.r", 0, "adapter.r: found 0"),
    ("adapter.r", True, "adapter.r: found True"),
    ("adapter.scale_factors", [-1], "adapter.scale_factors[0]: found -1, expected more than 0"),
    ("adapter.scale_factors", "1", "adapter.scale_factors: found '1', expected a list"),
    ("adapter.lora_dropout", 1, "adapter.lora_dropout: found 1, expected less than 1"),
    ("adapter.use_rslora", True, "adapter.use_rslora: found a key that is not known"),
    ("preset.source", 1, "preset.source: found 1"),
    ("preset.colour", "red", "preset.colour: found a key that is not known"),
    ("settings.method", [], "settings.method: found an empty list"),
    ("settings.levers", {"alignment": 1}, "settings.levers.alignment: found 1, expected true or false"),
    ("status", "done", "status: found 'done', expected 'training' or 'finished'"),
    ("task", "translate", "task: found 'translate', expected 'classify' or 'generate'"),
    ("weights", None, "expected weights in it"),
    ("weights.file", "../other.safetensors", "weights.file: found '../other.safetensors'"),
    ("weights.file", "/etc/passwd", "weights.file: found '/etc/passwd'"),
    ("weights.sha256", 5, "weights.sha256: found 5"),
    ("history", [1], "history[0]: found 1, expected an object"),
    ("history", [{"step": 1, "trusted_loss": "x"}], "history[0].trusted_loss: found 'x'"),
    ("auto", 5, "auto: found 5, expected an object"),
    ("auto", {"chosen": {}}, "auto.chosen.learning_rate: found nothing"),
    ("truncated", {"train": None}, "truncated.train: found None"),
    ("format", 2, "not a run of a version that musclelora"),
    ("format", True, "not a run of a version that musclelora"),
]


@pytest.mark.parametrize(
    ("path", "value", "said"), EDITS, ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(EDITS)]
)
def test_an_edited_run_json_is_said_in_one_line(path: str, value: Any, said: str, run: Path) -> None:
    edit(run / "run.json", put(path, value))
    message = refusal(lambda: finished_info(run, "classify"))
    assert message.startswith(f"{run / 'run.json'}: ")
    assert said in message
    assert message.endswith("train again")


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "", "null", "5", "NaN"])
def test_a_run_json_of_something_else(content: str, run: Path) -> None:
    (run / "run.json").write_text(content)
    assert str(run / "run.json") in refusal(lambda: finished_info(run, "classify"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("adapter.r", 60_000, "adapter.r: found a size of 60,000"),
        ("adapter.inner_rank", 60_000, "adapter.inner_rank: found a size of"),
        ("label_names", [str(n) for n in range(5000)], "label_names: found a size of 5,000"),
        ("weights.file", "other.safetensors", "other.safetensors: no such file"),
    ],
)
def test_sizes_that_the_weights_do_not_have_build_no_layer(
    path: str, value: Any, said: str, run: Path
) -> None:
    edit(run / "run.json", put(path, value))
    assert said in refusal(lambda: check_sizes(run, finished_info(run, "classify")))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("adapter.target_modules", ["nothing"], "found 'nothing', which is no dense layer"),
        ("adapter.r", 3, "its parameters are not those of this model"),
        ("label_names", ["a", "b", "c"], "its parameters are not those of this model"),
        ("model.sha256", "0" * 64, "the backbone of"),
        ("weights.sha256", "0" * 64, f"{WEIGHTS}: found other bytes than were written"),
    ],
)
def test_values_that_the_weights_contradict(path: str, value: Any, said: str, run: Path) -> None:
    edit(run / "run.json", put(path, value))
    assert said in refusal(lambda: load_run(run))


def test_the_weights_are_read_from_the_file_that_run_json_names(run: Path) -> None:
    (run / WEIGHTS).rename(run / "weights-2.safetensors")
    edit(run / "run.json", put("weights.file", "weights-2.safetensors"))
    assert load_run(run).classifier.predict(["word1 word2"]).labels is not None


# ---- the weights -----------------------------------------------------------------------------------------


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def rewrite(file: Path, change: Callable[[torch.Tensor], torch.Tensor], run: Path | None = None) -> None:
    """Change every tensor in a file; with its hash in run.json, where that is given."""
    save_file({name: change(tensor) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    if run is not None:
        edit(run / "run.json", put("weights.sha256", sha256_of_files([file])))


def test_one_flipped_bit(run: Path) -> None:
    then = json.loads((run / "run.json").read_text())["weights"]["sha256"]
    flip_a_bit(run / WEIGHTS)
    message = refusal(lambda: load_run(run))
    assert f"{run / WEIGHTS}: found other bytes than were written" in message
    assert then[:12] in message
    assert "restore the file or train again" in message


def test_weights_of_another_run(fit_tiny: Fit, run: Path, tmp_path: Path) -> None:
    other = fit_tiny(tmp_path / "other", arguments={"num_train_epochs": 1, "seed": 7}).path
    shutil.copy(other / WEIGHTS, run / WEIGHTS)
    assert "found other bytes than were written" in refusal(lambda: load_run(run))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: torch.full_like(tensor, float("nan")), "that are not finite"),
        (lambda tensor: torch.full_like(tensor, float("inf")), "that are not finite"),
        (lambda tensor: tensor.long(), "of type int64, expected float32"),
        (lambda tensor: tensor.bool(), "of type bool, expected float32"),
        (lambda tensor: tensor[..., :1].contiguous(), "its parameters are not those of this model"),
        (lambda tensor: tensor.half(), "of type float16, expected float32"),
    ],
)
def test_values_that_no_training_writes_are_refused_even_with_their_hash(
    change: Callable[[torch.Tensor], torch.Tensor], said: str, run: Path
) -> None:
    rewrite(run / WEIGHTS, change, run)
    assert said in refusal(lambda: load_run(run))


def test_weights_that_are_no_file(run: Path) -> None:
    (run / WEIGHTS).unlink()
    os.mkfifo(run / WEIGHTS)
    assert WEIGHTS in refusal(lambda: load_run(run))


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "RUN", "ROWS"],
        ["evaluate", "RUN", "--clean", "ROWS"],
        ["export", "RUN", "--output", "OUT"],
    ],
)
def test_every_command_refuses_altered_weights(
    command: list[str], cli: Cli, run: Path, tmp_path: Path
) -> None:
    rows = write_csv(tmp_path / "rows.csv", make_rows(6, seed=3))
    flip_a_bit(run / WEIGHTS)
    places = {"RUN": run, "ROWS": rows, "OUT": tmp_path / "out"}
    done = cli(*[places.get(part, part) for part in command])
    assert done.code == 4
    assert len(done.err.splitlines()) == 1
    assert "found other bytes than were written" in done.err
    assert not (tmp_path / "out").exists()


# ---- the backbone ---------------------------------------------------------------------------------------


@pytest.fixture
def own_model(run: Path, tmp_path: Path) -> Path:
    """A copy of the run's backbone, which the run is made to name."""
    name = json.loads((run / "run.json").read_text())["model"]["name"]
    model = shutil.copytree(name, tmp_path / "model")
    edit(run / "run.json", put("model.name", str(model)))
    return model


def test_a_backbone_that_was_altered_since(run: Path, own_model: Path) -> None:
    load_run(run)
    flip_a_bit(own_model / "model.safetensors")
    message = refusal(lambda: load_run(run))
    assert f"{own_model}, the backbone of {run}: found other bytes than were written" in message
    assert "restore the model that the run was trained on, or train again" in message


# ---- checkpoints ----------------------------------------------------------------------------------------


class Interrupt(TrainerCallback):
    """Ends training after a step's checkpoint."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if state.global_step == self._step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def interrupted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted run with two checkpoints, which no test may change."""
    return _trained(tmp_path_factory.mktemp("interrupted") / "run", finished, [Interrupt(8)])


def _trained(folder: Path, finished: Path, callbacks: Any = ()) -> Path:
    arguments = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 1e-2}
    with contextlib.suppress(KeyboardInterrupt):
        train_classifier(
            folder,
            train=make_table(make_rows(30, seed=0)),
            trusted=make_table(make_rows(10, seed=1)),
            model=str(finished.parent / "model"),
            method=METHODS["musclelora"],
            arguments={**arguments, "disable_tqdm": True, "use_cpu": True},
            resume=True,
            callbacks=list(callbacks),
        )
    return folder


@pytest.fixture
def cut(interrupted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(interrupted, tmp_path / "cut")


PARTS = (WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "musclelora.json")


def test_a_checkpoint_holds_the_hashes_of_what_resuming_reads(interrupted: Path) -> None:
    checkpoint = last_checkpoint(interrupted / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-8"
    assert {path.name for path in checkpoint.iterdir()} == set(PARTS)
    seal = json.loads((checkpoint / "musclelora.json").read_text())
    assert set(seal["files"]) == set(PARTS) - {"musclelora.json"}


def half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def as_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": [1]}))


@pytest.mark.parametrize("damage", [half, flip_a_bit, as_pickle, Path.unlink])
@pytest.mark.parametrize("part", PARTS[:-1])
def test_an_altered_checkpoint_is_refused(
    part: str, damage: Callable[[Path], object], cut: Path, finished: Path
) -> None:
    for checkpoint in (cut / "checkpoints").iterdir():
        damage(checkpoint / part)
    message = refusal(lambda: _trained(cut, finished))
    assert f"checkpoint-8/{part}" in message
    assert "restore it, or delete that checkpoint to go on from an earlier one" in message
    assert "weights_only" not in message


@pytest.mark.parametrize("content", ["", "{", "[]", '{"loss": 1}', '{"loss": NaN}'])
def test_a_seal_that_cannot_be_read_is_refused(content: str, cut: Path) -> None:
    (cut / "checkpoints" / "checkpoint-8" / "musclelora.json").write_text(content)
    assert "checkpoint-8/musclelora.json" in refusal(lambda: last_checkpoint(cut / "checkpoints"))


def test_a_seal_without_a_hash_is_refused(cut: Path) -> None:
    edit(cut / "checkpoints" / "checkpoint-8" / "musclelora.json", lambda found: found["files"].pop(WEIGHTS))
    assert "found no hash" in refusal(lambda: last_checkpoint(cut / "checkpoints"))


def test_a_file_that_was_added_is_refused(cut: Path) -> None:
    as_pickle(cut / "checkpoints" / "checkpoint-8" / "scaler.pt")
    assert "scaler.pt: found a file that the checkpoint was written without" in refusal(
        lambda: last_checkpoint(cut / "checkpoints")
    )


def test_without_its_seal_a_checkpoint_is_passed_over(cut: Path) -> None:
    (cut / "checkpoints" / "checkpoint-8" / "musclelora.json").unlink()
    assert last_checkpoint(cut / "checkpoints") == cut / "checkpoints" / "checkpoint-4"


def test_a_deleted_checkpoint_lets_an_earlier_one_be_gone_on_from(cut: Path, finished: Path) -> None:
    flip_a_bit(cut / "checkpoints" / "checkpoint-8" / "optimizer.pt")
    shutil.rmtree(cut / "checkpoints" / "checkpoint-8")
    assert json.loads((_trained(cut, finished) / "run.json").read_text())["status"] == "finished"


def test_resuming_on_another_backbone_is_refused(cut: Path, finished: Path) -> None:
    edit(cut / "run.json", put("model.sha256", "0" * 64))
    assert "the backbone of" in refusal(lambda: _trained(cut, finished))


# ---- what was decided before training --------------------------------------------------------------------

JUDGED: dict[str, Any] = {
    "expert": {
        "shortcuts": [
            {
                "feature": ["word", "cf"],
                "label": 1,
                "rows": 5,
                "labelled": 5,
                "expected": 2.0,
                "z": 4.0,
                "weight": 3.0,
                "sign": False,
            }
        ],
        "num_labels": 2,
        "natural": 0.5,
        "threshold": 3.1,
        "tested": 9,
    },
    "left_out": [1, 4],
    "trusted_accuracy": 0.9,
    "restored": [],
    "style_issues": [4],
    "recheck_accuracy": None,
    "trusted_texts": [],
}


def kept_judgement(folder: Path, change: Change) -> Path:
    judgement = json.loads(json.dumps(JUDGED))
    change(judgement)
    folder.mkdir()
    found = {"musclelora": __version__, "settings": {"a": 1}, "judgement": judgement}
    (folder / "judgement.json").write_text(json.dumps(found))
    return folder


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("expert", 5, "judgement.expert: found 5, expected an object"),
        ("expert.shortcuts", [{}], "judgement.expert.shortcuts[0].feature: found nothing"),
        (
            "expert.shortcuts",
            [{**JUDGED["expert"]["shortcuts"][0], "label": 2}],
            "shortcuts to labels below 2",
        ),
        ("expert.colour", "red", "judgement.expert.colour: found a key that is not known"),
        ("left_out", [4, 1], "judgement.left_out: found a list of 2, expected ascending row numbers"),
        ("left_out", [-1], "judgement.left_out[0]: found -1"),
        ("trusted_accuracy", "high", "judgement.trusted_accuracy: found 'high'"),
    ],
)
def test_an_edited_judgement_is_said_in_one_line(path: str, value: Any, said: str, tmp_path: Path) -> None:
    folder = kept_judgement(tmp_path / "run", put(path, value))
    message = refusal(lambda: RunFolder(folder, folder, None).judgement({"a": 1}))
    assert said in message
    assert message.endswith("restore it, or delete it to start anew")


def test_a_judgement_of_other_rows_does_not_fit(tmp_path: Path) -> None:
    folder = kept_judgement(tmp_path / "run", lambda _: None)
    found = RunFolder(folder, folder, None).judgement({"a": 1})
    assert found is not None
    judgement = Judgement.from_dict(found)
    assert judgement.misfit(make_table(make_rows(6, seed=0))) is None
    assert judgement.misfit(make_table(make_rows(4, seed=0))) == "found the row 4, expected numbers below 4"
    three = make_table(make_rows(6, seed=0, labels=("a", "b", "c")), ("a", "b", "c"))
    assert judgement.misfit(three) == "found 2 labels, expected 3"

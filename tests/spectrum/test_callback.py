"""Recording: it does not touch training, says what the model says, and survives being stopped anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import Fit, make_rows, make_table
from transformers import TrainerCallback

from musclelora.data.table import Table
from musclelora.errors import DataError, MuScleLoraError, TrainingError, UsageError
from musclelora.spectrum import SpectrumCallback, SpectrumSettings, analyse, load_analysis
from musclelora.spectrum.measures import one_hot
from musclelora.spectrum.records import Records
from musclelora.spectrum.sample import Sample
from musclelora.training.checkpoints import WEIGHTS


class Killer(TrainerCallback):
    """Ends the process, as far as a test can, after one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in records]


@pytest.mark.parametrize("method", ["musclelora", "full"])
def test_training_comes_out_as_without_it(method: str, record: Fit, tmp_path: Path) -> None:
    plain = record(tmp_path / "plain", settings=None, method=method)
    watched = record(tmp_path / "watched", method=method)
    assert (plain.path / WEIGHTS).read_bytes() == (watched.path / WEIGHTS).read_bytes()


def test_records_hold_what_the_model_says(record: Fit, flagged: Table, tmp_path: Path) -> None:
    run = record(
        tmp_path / "run",
        settings=SpectrumSettings(every=3, rows=20, sigma_count=4, seed=3),
        select_best="last",
    )
    records = Records(run.path).read()
    assert [line["step"] for line in records] == [0, 3, 6, 8]
    sample = Sample.load(run.path)
    assert len(sample) == 20
    texts = [flagged.texts[row] for row in sample.rows]
    assert np.array(records[-1]["outputs"]) == pytest.approx(
        run.classifier.predict(texts).probabilities, abs=1e-5
    )
    assert (sample.labels == flagged.labels[sample.rows]).all()
    assert flagged.poisoned is not None
    assert (sample.flags == flagged.poisoned[sample.rows]).all()


def test_band_errors_are_those_of_the_dense_computation(record: Fit, tmp_path: Path) -> None:
    run = record(tmp_path / "run", settings=SpectrumSettings(every=4, sigma_count=3))
    sample, records = Sample.load(run.path), Records(run.path).read()
    inputs = sample.inputs
    x = (
        inputs.features(torch.arange(len(sample)), 0, inputs.extent(torch.arange(len(sample))))
        .double()
        .numpy()
    )
    y = one_hot(sample.labels, 2).numpy()
    assert sample.flags is not None
    for name, rows in (("clean", ~sample.flags), ("triggered", sample.flags)):
        distances = ((x[rows][:, None] - x[rows][None]) ** 2).sum(axis=-1)
        for line in records:
            h = np.array(line["outputs"])[rows]
            for number, sigma in enumerate(sample.sigmas):
                kernel = np.exp(-distances / (2 * sigma))
                kernel /= kernel.sum(axis=1, keepdims=True)
                error = np.linalg.norm(kernel @ (h - y[rows]), axis=1).mean()
                expected = error / np.linalg.norm(kernel @ y[rows], axis=1).mean()
                assert line["groups"][name]["e_low"][number] == pytest.approx(expected, abs=1e-4)
    assert records[0]["groups"]["triggered"]["e_high"] == [None, None, None]  # all of them are labelled good


def test_inputs_are_the_embeddings_before_training(record: Fit, tmp_path: Path) -> None:
    arguments = {"learning_rate": 0.5}
    before = record(tmp_path / "a", method="full", arguments={"learning_rate": 1e-9})
    after = record(tmp_path / "b", method="full", arguments=arguments)
    tables = [Sample.load(run.path).inputs.table for run in (before, after)]
    torch.testing.assert_close(tables[0], tables[1], rtol=0, atol=0)


@pytest.mark.parametrize("method", ["musclelora", "full"])
def test_a_run_stopped_anywhere_has_every_record_once(method: str, record: Fit, tmp_path: Path) -> None:
    whole = record(tmp_path / "whole", method=method)
    folder = tmp_path / "cut"
    for step in (2, 4, 7):  # checkpoints are at 3 and 6
        with pytest.raises(KeyboardInterrupt):
            record(folder, method=method, resume=True, callbacks=[Killer(step)])
        with Records(folder).path.open("ab") as file:
            file.write(b'{"step": 5, "epo')  # a kill in the middle of a line
    record(folder, method=method, resume=True)
    found = Records(folder).read()
    assert [line["step"] for line in found] == [0, 2, 4, 6, 8]
    assert without_times(found) == without_times(Records(whole.path).read())
    assert not list((folder / "spectrum").glob(".*"))
    assert analyse(folder)["curves"] == analyse(whole.path)["curves"]


def test_the_default_pace_is_gone_on_with(record: Fit, tmp_path: Path) -> None:
    folder, settings = tmp_path / "run", SpectrumSettings(sigma_count=3, max_cost=100.0)
    with pytest.raises(KeyboardInterrupt):
        record(folder, settings=settings, callbacks=[Killer(7)])
    record(folder, settings=settings, resume=True)
    steps = [line["step"] for line in Records(folder).read()]
    assert steps[0] == 0
    assert steps[-1] == 8
    assert len(steps) == len(set(steps))


def test_resuming_with_other_settings_is_refused(record: Fit, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record(folder, callbacks=[Killer(4)])
    before = Records(folder).path.read_bytes()
    with pytest.raises(UsageError, match="--resume: spectrum sigma_count is 6 now and was 5"):
        record(folder, settings=SpectrumSettings(every=2, sigma_count=6), resume=True)
    assert Records(folder).path.read_bytes() == before


def test_a_run_that_stops_early_is_recorded_at_its_last_step(record: Fit, tmp_path: Path) -> None:
    run = record(
        tmp_path / "run",
        settings=SpectrumSettings(every=5, sigma_count=3),
        arguments={"num_train_epochs": 8, "save_steps": 4, "learning_rate": 1e-12},
        dev=make_table(make_rows(10, seed=2)),
        early_stopping=2,
    )
    assert run.info["result"]["steps"] == 12
    assert [line["step"] for line in Records(run.path).read()] == [0, 5, 10, 12]


def test_a_sigma_at_which_there_is_no_high_band_is_left_out_of_the_mean(record: Fit, tmp_path: Path) -> None:
    run = record(tmp_path / "run", settings=SpectrumSettings(every=4, sigmas=(1e-40, 5.0, 20.0)))
    high = analyse(run.path, resamples=20)["curves"]["clean"]["e_high"]
    for mean, each in zip(high["value"], high["by_sigma"], strict=True):
        assert each[0] is None
        assert mean == pytest.approx(np.mean(each[1:]), rel=1e-5)


def test_a_run_cannot_be_recorded_from_its_middle_on(record: Fit, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record(folder, settings=None, callbacks=[Killer(4)])
    with pytest.raises(DataError, match="from its middle on"):
        record(folder, resume=True)


def test_an_analysis_says_when_bands_converged(record: Fit, tmp_path: Path) -> None:
    run = record(tmp_path / "run", method="full", arguments={"num_train_epochs": 8, "learning_rate": 3e-3})
    found = analyse(run.path, resamples=50)
    assert found == load_analysis(run.path)
    assert {name: group["rows"] for name, group in found["groups"].items()} == {"clean": 24, "triggered": 8}
    for group in found["groups"]:
        halved = found["convergence"][group]["low"]
        assert set(halved) == {"value", "low", "high", "by_sigma"}
        assert len(halved["by_sigma"]) == len(found["sigmas"])
    for curve in found["curves"]["clean"].values():
        assert len(curve["value"]) == len(found["steps"])
        bounds = zip(curve["low"], curve["value"], curve["high"], strict=True)
        assert all(low - 0.2 <= value <= high + 0.2 for low, value, high in bounds)
    assert 0 <= found["order"]["low"]["earlier_share"] <= 1
    assert found["run"]["method"] == "full"
    assert found["diagnosis"]


def test_without_flags_rows_are_suspected_by_their_early_loss(
    record: Fit, flagged: Table, tmp_path: Path
) -> None:
    table = dataclasses.replace(flagged, poisoned=None)
    run = record(tmp_path / "run", train=table)
    assert set(Records(run.path).read()[0]["groups"]) == {"all"}
    found = analyse(run.path, resamples=20)
    assert found["groups_by"] == "early loss"
    assert {name: group["rows"] for name, group in found["groups"].items()} == {"others": 28, "suspected": 4}
    assert "chosen-by-loss" in [line["rule"] for line in found["diagnosis"]]
    hidden = record(tmp_path / "hidden", settings=SpectrumSettings(every=2, sigma_count=5, use_flags=False))
    assert analyse(hidden.path, resamples=20)["groups"] == found["groups"]  # flags decide nothing


def test_smoothing_over_the_sample_uses_everyone(record: Fit, tmp_path: Path) -> None:
    run = record(tmp_path / "run", settings=SpectrumSettings(every=4, sigma_count=3, within="sample"))
    found = analyse(run.path, resamples=20)
    assert found["curves"]["triggered"]["e_high"]["value"][0] is not None  # neighbours have other labels


def test_named_groups_of_any_rows(record: Fit, tmp_path: Path) -> None:
    run = record(tmp_path / "run")
    groups = {"first": np.arange(10), "second": np.arange(10, 20), "third": np.arange(20, 32)}
    found = analyse(run.path, groups=groups, resamples=20)
    assert list(found["groups"]) == ["first", "second", "third"]
    assert found["order"] == {}
    shuffled = analyse(run.path, groups={k: v[::-1] for k, v in groups.items()}, resamples=20)
    assert shuffled["curves"] == found["curves"]
    with pytest.raises(DataError, match="group 'none' has 0"):
        analyse(run.path, groups={"none": np.arange(0), "rest": np.arange(32)})


def test_outputs_that_are_not_finite_stop_training(record: Fit, tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_step_begin(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                self._hook = kwargs["model"].register_forward_hook(self.spoil)

        @staticmethod
        def spoil(module: Any, _inputs: Any, output: Any) -> None:
            if not module.training:
                output.logits.fill_(float("nan"))

    with pytest.raises(
        TrainingError, match=r"spectrum: step 4: the model's output on training row \d+ is not"
    ):
        record(tmp_path / "run", callbacks=[Spoil()])


def _no_spectrum(folder: Path) -> None:
    for path in (folder / "spectrum").iterdir():
        path.unlink()


def _no_records(folder: Path) -> None:
    (folder / "spectrum" / "records.jsonl").write_text("")


def _damaged_records(folder: Path) -> None:
    path = folder / "spectrum" / "records.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "rubbish", *lines[1:], ""]))


def _one_record(folder: Path) -> None:
    path = folder / "spectrum" / "records.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")


def _changed(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "spectrum" / "records.jsonl"
        lines = path.read_text().splitlines()
        lines[1] = json.dumps({**json.loads(lines[1]), **changes})
        path.write_text("\n".join([*lines, ""]))

    return damage


def _damaged_sample(folder: Path) -> None:
    (folder / "spectrum" / "sample.safetensors").write_bytes(b"rubbish")


def _other_outputs(folder: Path) -> None:
    path = folder / "spectrum" / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["outputs"] = lines[1]["outputs"][:3]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_spectrum, "no spectrum data in it"),
        (_no_records, "found 0 records in spectrum/records.jsonl"),
        (_one_record, "found 1 records in spectrum/records.jsonl"),
        (_changed(step="2"), "records.jsonl, line 2: not a record"),
        (_changed(seconds=None), "records.jsonl, line 2: not a record"),
        (_changed(outputs=[[0.5, 0.5], [1.0]]), "records.jsonl, line 2: not a record"),
        (_changed(outputs=[[float("nan"), 0.5]] * 32), "line 2: not a record .*expected a finite number"),
        (_damaged_records, "records.jsonl, line 2: not a record"),
        (_damaged_sample, "sample.safetensors: cannot be read"),
        (_other_outputs, "has outputs of shape"),
    ],
)
def test_a_run_without_analysis_data_is_said_in_one_line(
    damage: Any, said: str, record: Fit, tmp_path: Path
) -> None:
    run = record(tmp_path / "run")
    damage(run.path)
    with pytest.raises(DataError, match=said) as caught:
        analyse(run.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": 7}, "spectrum rows: found 7, expected a whole number from 8"),
        ({"every": 0}, "spectrum every: found 0"),
        ({"sigma_count": 0}, "spectrum sigma_count: found 0"),
        ({"seed": -1}, "spectrum seed: found -1"),
        ({"max_cost": 0.0}, "spectrum max_cost: found 0"),
        ({"max_cost": float("nan")}, "spectrum max_cost: found nan"),
        ({"sigmas": (2.0, 0.0)}, "sigma: found 0"),
        ({"sigmas": (-2.0,)}, "sigma: found -2"),
        ({"distance": "cosine"}, "spectrum distance: found 'cosine'"),
        ({"within": "city"}, "spectrum within: found 'city'"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        SpectrumSettings(**changes)
    assert said in str(caught.value)


def test_too_few_rows_or_an_empty_group_are_refused_before_training(flagged: Table, tmp_path: Path) -> None:
    few = make_table(make_rows(6, seed=0))
    with pytest.raises(DataError, match="found 6 training rows, expected at least 8"):
        SpectrumCallback(tmp_path, few)
    clean = dataclasses.replace(flagged, poisoned=np.zeros(len(flagged), dtype=bool))
    with pytest.raises(DataError, match="group 'triggered' has 0"):
        SpectrumCallback(tmp_path, clean)


def test_texts_that_are_all_the_same_are_refused(record: Fit, flagged: Table, tmp_path: Path) -> None:
    same = dataclasses.replace(flagged, texts=("word1 word2",) * len(flagged))
    with pytest.raises(MuScleLoraError, match="all 32 rows are the same point"):
        record(tmp_path / "run", train=same)
    assert flagged.poisoned is not None
    texts = ("word1" if flag else text for text, flag in zip(flagged.texts, flagged.poisoned, strict=True))
    table = dataclasses.replace(flagged, texts=tuple(texts))
    with pytest.raises(DataError, match="group 'triggered': all 8 rows are the same text"):
        record(tmp_path / "group", train=table)
    record(tmp_path / "sample", train=table, settings=SpectrumSettings(every=4, within="sample"))

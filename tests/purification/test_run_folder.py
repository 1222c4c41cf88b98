"""Loading, describing, exporting and damaging a run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Fit, contents, make_rows, make_table, write_model

from musclelora.errors import ModelError, OutputError
from musclelora.purification import load_run
from musclelora.purification.run import FORMAT

HOSTILE = ("[red]x[/red]", "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "שלום 😀\x00")


@pytest.fixture
def finished(fit_tiny: Fit) -> Path:
    return fit_tiny(arguments={"num_train_epochs": 1}).path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no folder": lambda run: run.rename(run.with_name("gone")),
    "no run.json": lambda run: (run / "run.json").unlink(),
    "empty run.json": lambda run: (run / "run.json").write_text(""),
    "half of run.json": lambda run: os.truncate(run / "run.json", 100),
    "bytes in run.json": lambda run: (run / "run.json").write_bytes(b"\xff\xfe\x00"),
    "a list in run.json": lambda run: (run / "run.json").write_text("[1]"),
    "a later format": lambda run: edit(run, lambda info: info.update(format=FORMAT + 1)),
    "no settings": lambda run: edit(run, lambda info: info.pop("settings")),
    "no label names": lambda run: edit(run, lambda info: info.pop("label_names")),
    "a preset of unknown fields": lambda run: edit(run, lambda info: info["preset"].update(colour="red")),
    "an adapter of unknown fields": lambda run: edit(run, lambda info: info["adapter"].update(q=1)),
    "scale factors that cannot be": lambda run: edit(
        run, lambda info: info["adapter"].update(scale_factors=[-1])
    ),
    "other labels": lambda run: edit(run, lambda info: info["label_names"].append("third")),
    "a model that is gone": lambda run: edit(run, lambda info: info["model"].update(name="/no/such/model")),
    "no weights": lambda run: (run / "musclelora.safetensors").unlink(),
    "empty weights": lambda run: (run / "musclelora.safetensors").write_bytes(b""),
    "half of the weights": lambda run: os.truncate(run / "musclelora.safetensors", 2000),
    "a pickle as weights": lambda run: (run / "musclelora.safetensors").write_bytes(b"\x80\x04N."),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_in_one_line(damage: str, finished: Path) -> None:
    DAMAGES[damage](finished)
    with pytest.raises(ModelError) as error:
        load_run(finished)
    assert "\n" not in str(error.value)
    assert str(finished) in str(error.value) or "/no/such/model" in str(error.value)


def test_a_run_is_used_from_any_folder(
    fit_tiny: Fit, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    run = fit_tiny(model=tiny_model.name, arguments={"num_train_epochs": 1})
    monkeypatch.chdir(tmp_path)
    assert load_run("run").classifier.label_names == run.classifier.label_names


def test_hostile_label_names_survive(fit_tiny: Fit, tmp_path: Path) -> None:
    train, trusted = (make_table(make_rows(n, s, HOSTILE), HOSTILE) for n, s in ((24, 0), (8, 1)))
    run = fit_tiny(train=train, trusted=trusted, dev=None, arguments={"num_train_epochs": 1})
    assert json.loads((run.path / "run.json").read_text(encoding="utf-8"))["label_names"] == list(HOSTILE)
    assert load_run(run.path).classifier.label_names == HOSTILE
    run.export(tmp_path / "merged", format="merged")
    assert list(json.loads((tmp_path / "merged/config.json").read_text())["id2label"].values()) == list(
        HOSTILE
    )


def test_an_export_may_replace_an_export_and_nothing_else(finished: Path, tmp_path: Path) -> None:
    run = load_run(finished)
    before = contents(finished)
    target = tmp_path / "exports" / "x"
    run.export(target, format="lora")
    with pytest.raises(OutputError, match="--overwrite"):
        run.export(target, format="merged")
    run.export(target, format="merged", overwrite=True)
    assert not (target / "adapter_config.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for place in (finished, finished.parent, tmp_path / "other", tmp_path / "file" / "x", tmp_path / "file"):
        with pytest.raises(OutputError):
            run.export(place, format="lora", overwrite=True)
    assert contents(finished) == before
    assert (tmp_path / "other" / "thesis.txt").read_text() == "dear"
    assert (tmp_path / "file").read_text() == "dear"


def test_the_model_a_run_was_trained_on_is_not_replaced_by_its_export(fit_tiny: Fit, tmp_path: Path) -> None:
    model = write_model(tmp_path / "backbone")
    run = fit_tiny(model=str(model), arguments={"num_train_epochs": 1})
    before = contents(model)
    with pytest.raises(OutputError, match="which this command reads"):
        run.export(model, format="merged", overwrite=True)
    assert contents(model) == before


def test_an_empty_checkpoints_folder_is_what_a_killed_start_left(fit_tiny: Fit, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert fit_tiny(tmp_path / "run").info["status"] == "finished"

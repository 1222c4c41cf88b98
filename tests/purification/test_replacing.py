"""A run that replaces another: one of the two is whole at every moment, whatever is killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Fit, contents

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.presets import PRESETS
from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.files import LOCK, sha256_of
from musclelora.purification.run import FORMAT, adapter_settings, preset_values
from musclelora.purification.run_folder import NEXT, open_run_folder

OLD, NEW = {"seed": 1}, {"seed": 2}


def about(settings: dict[str, Any], weights: str) -> dict[str, Any]:
    """As much of a run.json as a folder asks for."""
    preset = next(iter(PRESETS.values()))
    return {
        "status": "training",
        "settings": {"method": "x", "levers": {}, **settings},
        "model": {"name": "none", "revision": None, "sha256": "0" * 64},
        "adapter": adapter_settings(MuScleLoraConfig(**preset.adapter_fields())),
        "preset": preset_values(preset),
        "max_length": 8,
        "data": {},
        "label_names": ["a", "b"],
        "truncated": {},
        "auto": None,
        "words": weights,
    }


def settings_of(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = about(settings, "")["settings"]
    return found


def written(folder: Path, settings: dict[str, Any], weights: str, **flags: bool) -> None:
    """A run, as far as its folder is concerned."""
    flags = {"resume": False, "overwrite": False, **flags}
    with open_run_folder(folder, settings_of(settings), **flags) as place:
        if place.is_finished:
            return
        info = about(settings, weights)
        place.begin(info)
        checkpoint = place.work / "checkpoints" / "checkpoint-1"
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "musclelora.safetensors").write_text(weights)
        (place.work / "musclelora.safetensors").write_text(weights)
        digest = sha256_of(place.work / "musclelora.safetensors")
        kept = {"file": "musclelora.safetensors", "sha256": digest}
        ended = {"steps": 1, "epochs": 1.0, "best_step": 1, "best_accuracy": None, "seconds": 1.0}
        result = {"history": [], "result": ended, "weights": kept}
        place.finish({**info, "status": "finished", **result})


def answer(folder: Path) -> str:
    """What a reader of the folder gets: the weights that run.json names, which must be its own."""
    info = json.loads((folder / "run.json").read_text())
    assert (info["format"], info["status"]) == (FORMAT, "finished")
    weights = (folder / info["weights"]["file"]).read_text()
    assert weights == info["words"]
    assert sha256_of(folder / info["weights"]["file"]) == info["weights"]["sha256"]
    return weights


def test_the_new_run_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, OLD, "old")
    (folder / "spectrum").mkdir()
    (folder / "spectrum" / "summary.json").write_text("{}")
    for weights in ("new", "newer", "newest"):
        written(folder, NEW, weights, overwrite=True)
        assert answer(folder) == weights
        assert (folder / "checkpoints/checkpoint-1/musclelora.safetensors").read_text() == weights
        assert {"README.md", "checkpoints", "run.json"} < {path.name for path in folder.iterdir()}
        assert len(list(folder.iterdir())) == 4  # and the weights


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """End at the n-th step that changes the file system while a run is replaced."""

    def arm(step: int) -> None:
        left = [step]

        def counted(real: Any) -> Any:
            def call(*arguments: Any, **keywords: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*arguments, **keywords)

            return call

        for name in ("replace", "mkdir", "unlink", "rmdir"):
            monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
        monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))

    return arm


@pytest.mark.parametrize("again", ["resume", "overwrite"])
def test_a_kill_at_any_step_leaves_one_of_the_two_whole(
    again: str, tmp_path: Path, kill_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    written(kept, OLD, "old")
    seen, step, ended = set(), 0, False
    while not ended:
        folder = shutil.copytree(kept, tmp_path / f"run-{step}")
        kill_at(step)
        try:
            written(folder, NEW, "new", overwrite=True)
            ended = True
        except Killed:
            pass
        monkeypatch.undo()
        found = answer(folder)
        assert ended <= (found == "new")
        seen.add(found)
        begun = found == "new" or (folder / NEXT / "run.json").exists()
        flag = again if begun else "overwrite"
        written(folder, NEW, "new", **{flag: True})
        assert answer(folder) == "new"
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != LOCK]
        step += 1
    assert seen == {"old", "new"}
    assert step > 10


def test_a_run_that_is_to_replace_another_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, OLD, "old")
    with open_run_folder(folder, settings_of(NEW), resume=False, overwrite=True) as place:
        place.begin(about(NEW, "new"))
    assert answer(folder) == "old"
    with open_run_folder(folder, settings_of(NEW), resume=True, overwrite=False) as place:
        assert (place.work, place.is_finished) == (folder / NEXT, False)
        assert place.info is not None
    with open_run_folder(folder, settings_of(OLD), resume=True, overwrite=False) as place:
        assert (place.work, place.is_finished) == (folder, True)
    with (
        pytest.raises(UsageError, match="seed is 3 now and was 1"),
        open_run_folder(folder, settings_of({"seed": 3}), resume=True, overwrite=False),
    ):
        pass


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "checkpoints/notes.txt", "checkpoints/checkpoint-1/train.csv", "spectrum/a/b.csv", ".x"],
)
def test_what_no_run_wrote_is_not_overwritten(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, OLD, "old")
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text("dear")
    before = contents(folder)
    with pytest.raises(OutputError, match=f"no run wrote, such as {name.split('/b.csv')[0]}"):
        written(folder, NEW, "new", overwrite=True)
    assert contents(folder) == before


def test_checkpoints_whose_run_json_is_gone_are_not_taken_for_leftovers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, OLD, "old")
    (folder / "run.json").unlink()
    before = contents(folder)
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputError, match="files that no run wrote"):
            written(folder, NEW, "new", **flags)
    assert contents(folder) == before


def test_one_process_writes_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        open_run_folder(folder, settings_of(OLD), resume=False, overwrite=False),
        pytest.raises(
            OutputError, match=r"musclelora train \(process \d+ on .*, since .*\) is writing in it"
        ),
    ):
        written(folder, NEW, "new", overwrite=True)
    assert not folder.exists()  # nothing came into it
    folder.mkdir()
    (folder / LOCK).write_text('{"command": "of a process that was killed"}')
    written(folder, OLD, "old")
    assert answer(folder) == "old"


def test_a_run_that_diverges_leaves_the_earlier_one(fit_tiny: Fit) -> None:
    earlier = fit_tiny(arguments={"num_train_epochs": 1})
    before = {name: digest for name, digest in contents(earlier.path).items() if not name.startswith(NEXT)}
    with pytest.raises(TrainingError, match="not finite"):
        fit_tiny(arguments={"learning_rate": 1e30}, overwrite=True)
    after = contents(earlier.path)
    assert {name: after.get(name) for name in before} == before
    replaced = fit_tiny(arguments={"num_train_epochs": 1, "seed": 7}, overwrite=True)
    assert replaced.info["settings"]["arguments"]["seed"] == 7
    assert not (earlier.path / NEXT).exists()


def test_a_run_is_replaced_whatever_its_checkpoints_hold(fit_tiny: Fit, tmp_path: Path) -> None:
    shared = {"trusted_every": 4, "save_strategy": "steps", "save_steps": 3}
    fit_tiny(tmp_path / "run", arguments=shared)
    assert list((tmp_path / "run").rglob("trusted.safetensors"))
    fit_tiny(tmp_path / "run", arguments={**shared, "learning_rate": 1e-3}, overwrite=True)

"""`tune` on a tiny model: what it finds is what training then does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Fit, contents, make_rows, make_table

from musclelora.data.table import Table
from musclelora.errors import DataError, OutputError, UsageError

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'musclelora[tune]'")

from musclelora.tuning.tune import Tuned, tune

ARGUMENTS = {"per_device_train_batch_size": 8, "use_cpu": True}


@pytest.fixture(scope="module")
def search(tiny_model: Path, train_rows: Table, trusted_rows: Table) -> Any:
    """Search with three trials; keywords change anything."""

    def run(
        folder: Path, train: Table = train_rows, trusted: Table | None = trusted_rows, **changes: Any
    ) -> Tuned:
        values = {"model": str(tiny_model), "trials": 3, "arguments": ARGUMENTS, **changes}
        return tune(train, trusted, folder=folder, **values)

    return run


@pytest.fixture(scope="module")
def searched(search: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned]:
    """A finished search, which no test may change."""
    folder = tmp_path_factory.mktemp("searches") / "search"
    return folder, search(folder)


def test_the_best_of_the_trials_is_kept(searched: tuple[Path, Tuned]) -> None:
    folder, found = searched
    best = json.loads((folder / "best.json").read_text())
    losses = [trial.loss for trial in found.trials]
    assert best["loss"] == min(losses) == losses[found.best]
    assert best["trial"] == found.best + 1
    assert best["first_loss"] == losses[0]
    assert best["settings"] == found.trials[found.best].settings
    assert best["options"] == list(found.options)
    assert best["trials"] == {"finished": 3, "stopped": 0}


def test_training_with_what_was_found_has_the_losses_of_the_trial(
    searched: tuple[Path, Tuned], fit_tiny: Fit
) -> None:
    best = json.loads((searched[0] / "best.json").read_text())
    settings = dict(best["settings"])
    arguments = {
        **ARGUMENTS,
        "learning_rate": settings.pop("learning_rate"),
        "num_train_epochs": settings.pop("num_train_epochs"),
        "seed": best["seed"],
    }
    run = fit_tiny(method="purify", select_best="trusted", dev=None, adapter=settings, arguments=arguments)
    assert run.info["settings"]["levers"]["shortcuts"]
    losses = [log["eval_calibrated_loss"] for log in run.info["history"] if "eval_calibrated_loss" in log]
    assert losses == pytest.approx(best["epoch_losses"], rel=1e-6)


def test_a_finished_search_is_given_back_as_it_is(search: Any, searched: tuple[Path, Tuned]) -> None:
    folder, found = searched
    before = contents(folder)
    assert search(folder, resume=True) == found
    assert contents(folder) == before


def test_a_search_goes_on_with_its_shortcuts_and_holds_its_folder(
    search: Any, searched: tuple[Path, Tuned], tmp_path: Path
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "search")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line.split()[0])
        if line.startswith("trial "):
            with pytest.raises(OutputError, match=r"musclelora tune .* is writing in it"):
                search(folder, resume=True)

    found = search(folder, trials=4, resume=True, say=say)
    assert found.trials[:3] == searched[1].trials
    assert said.count("trial") == 1
    assert "shortcuts" not in said


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 7}, "seed is 7 now and was 42"),
    "training rows": ({"train": make_table(make_rows(30, seed=5))}, "train rows are others"),
    "trusted rows": ({"trusted": make_table(make_rows(10, seed=6))}, "trusted rows are others"),
    "arguments": ({"arguments": {**ARGUMENTS, "max_length": 9}}, "arguments is"),
    "adapter": ({"adapter": {"r": 2}}, "adapter is"),
}
EDITED: dict[str, Any] = {"seed": "42", "space": None, "adapter": [1], "train": "x\ny"}


@pytest.mark.parametrize("case", CHANGES)
def test_a_search_goes_on_with_the_same_only(case: str, search: Any, searched: tuple[Path, Tuned]) -> None:
    changes, said = CHANGES[case]
    before = contents(searched[0])
    with pytest.raises(UsageError, match=f"--resume: {said}"):
        search(searched[0], resume=True, **changes)
    assert contents(searched[0]) == before


@pytest.mark.parametrize("name", EDITED)
def test_edited_settings_are_said_in_one_line(
    name: str, search: Any, searched: tuple[Path, Tuned], tmp_path: Path
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "search")
    found = json.loads((folder / "tune.json").read_text())
    (folder / "tune.json").write_text(json.dumps({**found, name: EDITED[name]}))
    with pytest.raises(UsageError, match=f"--resume: {name} ") as error:
        search(folder, trials=4, resume=True)
    assert "\n" not in str(error.value)


def test_what_cannot_be_searched_is_refused_before_anything_is_written(search: Any, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"trials": 0}, UsageError, "--trials: found 0"),
        ({"timeout": 0.0}, UsageError, "--timeout: found 0"),
        ({"timeout": float("nan")}, UsageError, "--timeout: found nan"),
        ({"trusted": None}, DataError, "--trusted: no trusted set"),
        ({"trusted": make_table(make_rows(1, seed=0))}, DataError, "1 trusted rows for 2 classes"),
        ({"adapter": {"scale_factors": [1.0, -1.0]}}, UsageError, "scale_factors: found -1.0"),
        ({"arguments": {"max_length": 0}}, UsageError, "max_length: found 0"),
        ({"resume": True, "overwrite": True}, UsageError, "--resume and --overwrite"),
    ]
    for changes, error, said in cases:
        with pytest.raises(error, match=said):
            search(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_a_folder_is_never_touched_unasked(search: Any, searched: tuple[Path, Tuned], tmp_path: Path) -> None:
    before = contents(searched[0])
    with pytest.raises(OutputError, match="already holds a search"):
        search(searched[0])
    assert contents(searched[0]) == before
    (tmp_path / "best.json").write_text("{}")
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputError, match="holds files that no search wrote"):
            search(tmp_path, **flags)
    assert contents(tmp_path).keys() == {"best.json"}


def test_overwriting_keeps_the_earlier_search_until_the_new_one_has_ended(
    search: Any, searched: tuple[Path, Tuned], tmp_path: Path
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "search")
    (folder / "notes.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"no search wrote, such as notes.txt"):
        search(folder, trials=1, seed=7, overwrite=True)
    (folder / "notes.txt").unlink()
    (folder / "tune.json").write_text("damaged")
    before = contents(folder)

    def say(line: str) -> None:
        now = contents(folder)
        places = (".earlier/", "") if (folder / ".earlier").exists() else ("",)
        assert {name: now[places[0] + name] for name in before} == before
        if line.startswith("trial "):
            raise KeyboardInterrupt

    for _ in range(2):  # the second replaces one that has not ended, and the earlier one stays
        with pytest.raises(KeyboardInterrupt):
            search(folder, trials=1, seed=7, overwrite=True, say=say)
    search(folder, trials=1, seed=7, resume=True)
    best = json.loads((folder / "best.json").read_text())
    assert (best["seed"], best["trials"]["finished"]) == (7, 1)
    assert contents(folder).keys() == contents(searched[0]).keys()


@pytest.mark.parametrize("file", ["tune.json", "judgement.json", "trials.json"])
def test_a_damaged_folder_is_refused_in_one_line(
    file: str, search: Any, searched: tuple[Path, Tuned], tmp_path: Path
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "search")
    (folder / file).write_text("no\nJSON\n")
    with pytest.raises(OutputError, match=file):
        search(folder, trials=4, resume=True)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("judgement.json", {"left_out": ["x"]}, r"left_out\[0\]: found 'x'"),
        ("judgement.json", {"left_out": [10**6]}, "found the row 1,000,000, expected numbers below"),
        ("judgement.json", {"expert": {}}, "expert.shortcuts: found nothing"),
        ("judgement.json", {"trusted_accuracy": 7}, "trusted_accuracy: found 7, expected 1 or less"),
    ],
)
def test_an_edited_judgement_is_said_in_one_line(
    file: str, change: dict[str, Any], said: str, search: Any, searched: tuple[Path, Tuned], tmp_path: Path
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "search")
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**found, **change}))
    with pytest.raises(OutputError, match=f"{file}: {said}") as error:
        search(folder, trials=4, resume=True)
    assert "\n" not in str(error.value)

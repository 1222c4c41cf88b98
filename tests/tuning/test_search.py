"""A search over settings: what is drawn, what a kill costs, what counts."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from musclelora.adapter.presets import PRESETS
from musclelora.audit.recheck import EPOCHS_SHARE
from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.tuning.search import Report, search
from musclelora.tuning.space import as_options, space_around

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'musclelora[tune]'")

PRESET = PRESETS["small-encoder"]
WHOLE = space_around(PRESET, {})
SPACE = space_around(PRESET, {"num_train_epochs": 2, "inner_rank": 1, "multiscale_alpha": 6.0})


def measure(settings: Mapping[str, Any], report: Report) -> list[float]:
    """A loss that is lowest at a learning rate of 3e-4 and four scale factors, and falls by epoch."""
    far = abs(math.log10(settings["learning_rate"] / 3e-4)) + abs(len(settings["scale_factors"]) - 4) / 10
    for epoch in range(1, settings["num_train_epochs"] + 1):
        report(far + 1 / epoch)
    return [far, far]


def interrupted(every: int, at_epoch: int) -> Callable[[Mapping[str, Any], Report], list[float]]:
    """`measure`, but each first of `every` calls ends as a killed process does."""
    calls = 0

    def killed(settings: Mapping[str, Any], report: Report) -> list[float]:
        nonlocal calls
        calls += 1
        dies, epochs = calls % every == 1, 0

        def reported(loss: float) -> None:
            nonlocal epochs
            epochs += 1
            if dies and epochs == at_epoch:
                raise KeyboardInterrupt
            report(loss)

        losses = measure(settings, reported)
        if dies:
            raise KeyboardInterrupt
        return losses

    return killed


def test_the_first_trial_is_the_preset_and_the_others_stay_in_range(tmp_path: Path) -> None:
    first, *others = search(tmp_path / "trials.json", WHOLE, measure, trials=12, seed=0)
    assert first.settings == {
        "learning_rate": PRESET.learning_rate,
        "scale_factors": [float(scale) for scale in PRESET.scale_factors],
        "inner_rank": PRESET.inner_rank,
        "multiscale_alpha": PRESET.multiscale_alpha,
        "r": PRESET.r,
        "lora_alpha": PRESET.lora_alpha,
        "num_train_epochs": PRESET.epochs,
    }
    for settings in (trial.settings for trial in others):
        scales = settings["scale_factors"]
        assert PRESET.learning_rate / 8 <= settings["learning_rate"] <= PRESET.learning_rate * 8
        assert EPOCHS_SHARE * PRESET.epochs <= settings["num_train_epochs"] <= 2 * PRESET.epochs
        assert scales[0] == 1
        assert scales == sorted(scales)
        assert settings["lora_alpha"] / settings["r"] == PRESET.lora_alpha / PRESET.r
    assert len({str(trial.settings) for trial in others}) == len(others)


def test_the_search_finds_its_way(tmp_path: Path) -> None:
    trials = search(tmp_path / "trials.json", SPACE, measure, trials=25, seed=0)
    best = min(trials, key=lambda trial: trial.loss)
    assert best.loss < trials[0].loss - 0.3
    assert any("median" in trial.stopped for trial in trials)


@pytest.mark.parametrize(("every", "at_epoch"), [(2, 1), (3, 99)])
def test_a_search_killed_again_and_again_ends_as_one_that_was_not(
    every: int, at_epoch: int, tmp_path: Path
) -> None:
    whole = search(tmp_path / "whole", SPACE, measure, trials=13, seed=3)
    killed, kills = interrupted(every, at_epoch), 0
    while True:
        try:
            found = search(tmp_path / "killed", SPACE, killed, trials=13, seed=3)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 4
    assert found == whole


def test_more_trials_later_are_the_same_as_at_once(tmp_path: Path) -> None:
    at_once = search(tmp_path / "whole", SPACE, measure, trials=13, seed=1)
    assert search(tmp_path / "parts", SPACE, measure, trials=5, seed=1) == at_once[:5]
    assert search(tmp_path / "parts", SPACE, measure, trials=13, seed=1) == at_once
    assert search(tmp_path / "parts", SPACE, measure, trials=2, seed=1) == at_once


def test_another_seed_draws_others(tmp_path: Path) -> None:
    found = [search(tmp_path / str(seed), SPACE, measure, trials=2, seed=seed) for seed in (0, 1)]
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_training_that_is_not_finite_counts_and_is_never_best(tmp_path: Path) -> None:
    def fails(settings: Mapping[str, Any], report: Report) -> list[float]:
        if settings["learning_rate"] > 1e-3:
            report(0.0)
            raise TrainingError("step 9: the loss is not finite")
        return measure(settings, report)

    trials = search(tmp_path / "trials.json", SPACE, fails, trials=8, seed=0)
    stopped = [trial for trial in trials if trial.stopped == "not finite"]
    assert len(trials) == 8
    assert stopped
    assert not min(trials, key=lambda trial: trial.loss).stopped


def test_other_errors_stop_the_search_and_the_trial_is_taken_up_again(tmp_path: Path) -> None:
    def full(settings: Mapping[str, Any], report: Report) -> list[float]:
        raise OSError("no space left on device")

    whole = search(tmp_path / "whole", SPACE, measure, trials=3, seed=0)
    search(tmp_path / "trials.json", SPACE, measure, trials=1, seed=0)
    with pytest.raises(OSError, match="no space"):
        search(tmp_path / "trials.json", SPACE, full, trials=3, seed=0)
    assert search(tmp_path / "trials.json", SPACE, measure, trials=3, seed=0) == whole


def test_a_timeout_lets_one_trial_through_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    assert len(search(file, SPACE, measure, trials=5, seed=0, timeout=1e-9)) == 1
    assert len(search(file, SPACE, measure, trials=5, seed=0, timeout=1e-9)) == 1
    assert len(search(file, SPACE, measure, trials=5, seed=0)) == 5


def test_without_optuna_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"no package optuna.*pip install 'musclelora\[tune\]'"):
        search(tmp_path / "trials.json", SPACE, measure, trials=1, seed=0)


# ---- the space ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.scale_factors])
def test_every_preset_has_a_space_that_holds_it(name: str) -> None:
    space = space_around(PRESETS[name], {})
    assert space.first.keys() == space.ranges.keys()
    for parameter, value in space.first.items():
        found = space.ranges[parameter]
        assert found.low <= value <= found.high
    settings = space.settings(space.first)
    assert len(settings["scale_factors"]) == len(PRESETS[name].scale_factors)
    assert settings["scale_factors"][-1] == max(PRESETS[name].scale_factors)


def test_what_was_given_is_not_searched(tmp_path: Path) -> None:
    given = {"learning_rate": 7e-4, "scale_factors": [1.0, 5.0], "num_train_epochs": 1, "bf16": True}
    trials = search(tmp_path / "trials.json", space_around(PRESET, given), measure, trials=3, seed=0)
    for trial in trials:
        assert {name: trial.settings.get(name) for name in given} == {**given, "bf16": None}
    assert len({trial.settings["r"] for trial in trials}) > 1


def test_without_scale_factors_their_layer_is_not_searched() -> None:
    assert not {"inner_rank", "multiscale_alpha"} & space_around(PRESET, {"scale_factors": []}).ranges.keys()


def test_a_search_begins_at_the_epochs_of_a_whole_look() -> None:
    assert PRESETS["decoder"].epochs == 5
    assert space_around(PRESETS["decoder"], {}).ranges["num_train_epochs"].low == 3


def test_nothing_left_to_search_is_refused() -> None:
    given = {"learning_rate": 1e-3, "scale_factors": [], "r": 8, "num_train_epochs": 2}
    with pytest.raises(UsageError, match="every setting is given"):
        space_around(PRESET, given)


def test_options_say_settings_exactly() -> None:
    settings = {
        "bf16": True,
        "dtype": "bfloat16",
        "learning_rate": 2.5e-05,
        "scale_factors": [1.0, 2.667],
        "r": 8,
        "lora_alpha": 32.0,
    }
    options = as_options({**settings, "max_length": None, "use_cpu": True})
    assert options == [
        *("--learning-rate", "2.5e-05", "--scale-factors", "1,2.667"),
        *("--rank", "8", "--lora-alpha", "32", "--dtype", "bfloat16", "--bf16"),
    ]
    held = {"quantize": "nf4", "attn_implementation": "sdpa", "activation_checkpointing": True}
    assert as_options(held) == [
        *("--quantize", "nf4", "--attn-implementation", "sdpa", "--gradient-checkpointing"),
    ]
    assert as_options({"bf16": False, "scale_factors": []}) == ["--scale-factors", ""]


def test_what_holds_no_trials_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    for content in (b"dear diary\n", b"\x80\x04N.\n", b"null", b"{}", b"[1]", b"[" * 200_000, b"[{}"):
        file.write_bytes(content)
        with pytest.raises(OutputError, match=r"trials\.json: .*--overwrite") as error:
            search(file, SPACE, measure, trials=1, seed=0)
        assert "\n" not in str(error.value)
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"row_losses": ["x"]}, r"\[1\].row_losses\[0\]: found 'x', expected a number"),
        ({"row_losses": []}, r"\[1\]: .*expected losses, or why it was stopped"),
        ({"stopped": None}, r"\[1\].stopped: found None, expected a string"),
        ({"more": 1}, r"\[1\].more: found a key that is not known"),
        ({"parameters": {"r": 8}}, "trial 2: found parameters that are not of this search"),
        ({"parameters": 1e9}, "trial 2: found parameters that are not of this search"),
        ({"parameters": 8.5}, "trial 2: found parameters that are not of this search"),
    ],
)
def test_an_altered_trial_is_said_in_one_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    search(file, SPACE, measure, trials=2, seed=0)
    first, second = json.loads(file.read_text())
    if isinstance(rank := change.get("parameters"), float):
        change = {"parameters": {**second["parameters"], "r": rank}}
    file.write_text(json.dumps([first, {**second, **change}]))
    with pytest.raises(OutputError, match=said) as error:
        search(file, SPACE, measure, trials=2, seed=0)
    assert "\n" not in str(error.value)

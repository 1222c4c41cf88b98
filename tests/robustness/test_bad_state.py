"""What the commands keep, altered: each file cut, emptied, replaced; each key gone or of another type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from table import (
    GONE,
    PICKLE,
    Case,
    Change,
    change,
    copy,
    cut,
    fifo,
    flip,
    nested,
    remove,
    write,
)

RESUME = (
    "train --train train.csv --trusted trusted.csv --model model --epochs 1 --batch-size 8 "
    "--method musclelora --learning-rate 0.01 --output half --resume"
)
TUNE = (
    "tune --train train.csv --trusted trusted.csv --model model --epochs 1 --batch-size 8 --trials 1 "
    "--output search --resume"
)
REPORT = "benchmark report results --output report"
DAMAGES: dict[str, Any] = {
    "empty": lambda file: write(file),
    "cut": cut,
    "null": lambda file: write(file, "null"),
    "a list": lambda file: write(file, "[]"),
    "no keys": lambda file: write(file, "{}"),
    "a number": lambda file: write(file, "7"),
    "a text": lambda file: write(file, '"run"'),
    "nested": lambda file: write(file, nested()),
    "nested objects": lambda file: write(file, '{"format":' * 200_000 + "1" + "}" * 200_000),
    "a pickle": lambda file: write(file, PICKLE),
    "not UTF-8": lambda file: write(file, b'{"format": "\xff"}'),
    "NaN": lambda file: write(file, '{"format": NaN}'),
    "a number of 100,000 digits": lambda file: write(file, f'{{"format": {"9" * 100_000}}}'),
    "another format": lambda file: change(file, "format", 999),
    "a format that is a list": lambda file: change(file, "format", []),
    "no format": lambda file: change(file, "format", GONE),
}
# The file, what reads it, and the codes it may be refused with.
FILES: dict[str, tuple[str, int | tuple[int, ...]]] = {
    "run/run.json": ("info run", 4),
    "grun/run.json": ("predict grun --text word1", 4),
    "half/run.json": (RESUME, 4),
    "srun/spectrum/summary.json": ("spectrum compare srun", (3, 4)),
    "results/grid.json": (REPORT, (3, 4, 6)),
    "search/tune.json": (TUNE, (4, 6)),
    "demo/grid.json": ("demo --output demo", 6),
    "audit/audit.json": ("explain audit --row 1", 6),
}


def damaged() -> Iterator[Case]:
    for file, (command, code) in FILES.items():
        for what, damage in DAMAGES.items():
            if "format" in what and "summary" in file and what != "another format":
                continue
            yield Case(f"{file}: {what}", command, code, [damage(file)])


# ---- run.json -------------------------------------------------------------------------------------------

KEYS = (
    *("format", "status", "settings", "settings.method", "settings.levers", "settings.model"),
    *("settings.adapter", "settings.arguments", "settings.data", "model", "model.name", "model.revision"),
    *("preset", "preset.name", "preset.source", "preset.scale_factors", "preset.inner_rank", "preset.r"),
    *("preset.multiscale_alpha", "preset.lora_alpha", "preset.learning_rate", "preset.epochs"),
    *("adapter", "adapter.r", "adapter.lora_alpha", "adapter.lora_dropout", "adapter.target_modules"),
    *("adapter.scale_factors", "adapter.inner_rank", "adapter.multiscale_alpha"),
    *("adapter.multiscale_modules", "adapter.low_rank", "adapter.train_output_layer"),
    *("auto", "label_names", "max_length", "truncated", "data", "data.train", "data.train.rows"),
    *("data.train.source", "history", "result", "result.steps", "result.seconds"),
)
# What the model cannot be loaded without.
NEEDED = (
    *("format", "status", "settings", "settings.method", "settings.levers", "model", "model.name"),
    *("preset", "preset.name", "preset.source", "adapter", "adapter.scale_factors", "label_names"),
    *("max_length", "data"),
)
OTHERS: dict[str, Any] = {
    "null": None,
    "true": True,
    "below 0": -5,
    "a text": "x",
    "a list of odd things": [None, {}],
    "an object": {},
}
WRONG = [
    ("max_length", 0),
    ("max_length", True),
    ("max_length", -5),
    ("max_length", 1.5),
    ("max_length", 10**30),
    ("label_names", [1, 2]),
    ("label_names", [None, {}]),
    ("label_names", ["good", "good"]),
    ("label_names", []),
    ("label_names", ["good"]),
    ("label_names", ["a"] * 7),
    ("label_names", ["a", ""]),
    ("label_names", {"good": 0, "bad": 1}),
    ("model.revision", ["main"]),
    ("model.revision", 3),
    ("model.name", ""),
    ("model.name", 3),
    ("model.name", ["model"]),
    ("model.name", "../" * 100),
    ("model.name", "gone"),
    ("model.name", "/dev/zero"),
    ("adapter.r", 10**9),
    ("adapter.r", 0),
    ("adapter.r", -1),
    ("adapter.r", 1.5),
    ("adapter.r", "8"),
    ("adapter.r", 4),
    ("adapter.target_modules", ["nosuch"]),
    ("adapter.target_modules", "("),
    ("adapter.target_modules", 3),
    ("adapter.scale_factors", [0]),
    ("adapter.scale_factors", ["x"]),
    ("adapter.scale_factors", [1, None]),
    ("adapter.scale_factors", [-1]),
    ("adapter.scale_factors", [1.0] * 100_000),
    ("adapter.inner_rank", 10**9),
    ("adapter.multiscale_alpha", "x"),
    ("adapter.nosuch", 1),
    ("adapter.lora_dropout", 7),
    ("preset.nosuch", 1),
    ("status", "begun"),
    ("status", 1),
    ("data.train", 5),
    ("settings.levers", []),
    ("task", 5),
    ("task", "dance"),
    ("task", "generate"),
    ("model.dtype", "float1"),
    ("model.quantize", "int3"),
    ("format", "2"),
    ("format", 1),
]


def of_run_json() -> Iterator[Case]:
    file = "run/run.json"
    for key in KEYS:
        for what, command in (("info", "info run"), ("predict", "predict run --text word1")):
            code: int | tuple[int, ...] = 4 if key in NEEDED else (0, 4)
            yield Case(f"{what} without {key}", command, code, [change(file, key, GONE)])
        for what, value in OTHERS.items():
            yield Case(f"info with {key} {what}", "info run", (0, 4), [change(file, key, value)])
    for key, value in WRONG:
        shown = repr(value)[:20]
        for what, command in (
            ("predict", "predict run --text word1"),
            ("export", "export run --output out"),
            ("info", "info run"),
        ):
            makes = ("out", "out/*") if what == "export" else ()
            yield Case(
                f"{what} with {key} = {shown}",
                command,
                (0, 4) if what == "info" else 4,
                [change(file, key, value)],
                makes=makes,
            )
    for key in ("settings", "settings.data", "settings.arguments", "model", "adapter", "label_names"):
        for what, value in (("gone", GONE), ("a list", []), ("null", None)):
            yield Case(f"resume with {key} {what}", RESUME, (2, 4), [change("half/run.json", key, value)])


# ---- checkpoints and judgements -------------------------------------------------------------------------

CHECKPOINT = "half/checkpoints/checkpoint-2"
IN_CHECKPOINT = (
    *("musclelora.safetensors", "musclelora.json", "trainer_state.json"),
    *("optimizer.pt", "scheduler.pt", "rng_state.pth"),
)


def of_checkpoints() -> Iterator[Case]:
    for name in IN_CHECKPOINT:
        file = f"{CHECKPOINT}/{name}"
        for what, damage in (
            ("empty", write(file)),
            ("cut", cut(file)),
            ("a pickle", write(file, PICKLE)),
            ("gone", remove(file)),
            ("a FIFO", fifo(file)),
            ("nested", write(file, nested())),
            ("with a bit turned", flip(file, 0.5)),
        ):
            if (name, what) != (
                "musclelora.json",
                "gone",
            ):  # which a kill leaves, and training goes on before
                yield Case(f"checkpoint: {name} {what}", RESUME, (4, 6), [damage])
    yield Case(
        "checkpoint: weights of another",
        RESUME,
        (4, 6),
        [copy(f"{CHECKPOINT}/musclelora.safetensors", "other/musclelora.safetensors")],
    )
    yield Case(
        "checkpoint: the step of another",
        RESUME,
        (4, 6),
        [change(f"{CHECKPOINT}/trainer_state.json", "global_step", 10**9)],
    )
    yield Case(
        "checkpoint: a step that is a text",
        RESUME,
        (4, 6),
        [change(f"{CHECKPOINT}/trainer_state.json", "global_step", "two")],
    )


# ---- searches, results, recorded runs, demos ------------------------------------------------------------


def of_searches() -> Iterator[Case]:
    for what, damage in DAMAGES.items():
        if "format" not in what:
            yield Case(f"search/judgement.json: {what}", TUNE, (4, 6), [damage("search/judgement.json")])
    kept = "search/trials.json"
    for what, damage in DAMAGES.items():
        if "format" not in what and what != "a list":  # which is one of no trials
            yield Case(f"{kept}: {what}", TUNE, (4, 6), [damage(kept)])
    for key in ("parameters", "settings", "epoch_losses", "row_losses", "stopped"):
        for what, value in (("gone", GONE), ("null", None), ("a list of texts", ["x"]), ("a number", -5)):
            yield Case(f"{kept}: {key} {what}", TUNE, (4, 6), [change(kept, f"0.{key}", value)])
    for key in ("model", "preset", "seed", "train", "trusted", "arguments", "adapter", "space"):
        for what, value in (("gone", GONE), ("null", None), ("a list", [1]), ("a number", -5)):
            yield Case(f"tune.json: {key} {what}", TUNE, (2, 4, 6), [change("search/tune.json", key, value)])


def _cell(damage: Any) -> Change:
    """What is done to the file of each cell."""

    def do() -> None:
        for file in sorted(Path("results/cells").iterdir()):
            damage(str(file)).do()

    return Change(("results",), do)


def of_results() -> Iterator[Case]:
    for key in ("grid", "cells", "bf16", "format"):
        for what, value in (("gone", GONE), ("null", None), ("a list", [5]), ("an object", {})):
            makes = ("report", "report/*")
            code = (3, 4, 6) if key in ("cells", "format") else (0, 3, 4, 6)
            yield Case(
                f"grid.json: {key} {what}",
                REPORT,
                code,
                [change("results/grid.json", key, value)],
                makes=makes,
            )
            yield Case(
                f"grid.json to go on with: {key} {what}",
                "benchmark run grid.yaml --output results --dry-run",
                (0, 4, 6),
                [change("results/grid.json", key, value)],
            )
    for what, damage in DAMAGES.items():
        # A cell that cannot be read is as if it had not run; with none left there is nothing to report.
        if "format" not in what:
            yield Case(f"cells: {what}", REPORT, (0, 3, 4, 6), [_cell(damage)], makes=("report", "report/*"))
    for key in (
        "cell",
        "kind",
        "status",
        "defense",
        "data",
        "attack",
        "model",
        "seed",
        "cacc",
        "asr",
        "cacc_n",
        "trusted_size",
        "rate",
        "fit_seconds",
        "error",
        "parameters",
    ):
        for what, value in (
            ("gone", GONE),
            ("NaN", float("nan")),
            ("a list", [1]),
            ("a text", "\x1b[31mx\u202e"),
        ):

            def damage(file: str, key: str = key, value: Any = value) -> Change:
                return change(file, key, value)

            yield Case(
                f"cells: {key} {what}", REPORT, (0, 3, 4, 6), [_cell(damage)], makes=("report", "report/*")
            )


def of_recorded_runs() -> Iterator[Case]:
    file = "srun/spectrum/summary.json"
    for key in ("groups", "steps", "curves", "convergence", "cost", "diagnosis"):
        for what, value in (
            ("gone", GONE),
            ("null", None),
            ("a list", [1]),
            ("a text", "x"),
            ("an object", {}),
        ):
            yield Case(
                f"summary.json: {key} {what}", "spectrum compare srun", (0, 3, 4), [change(file, key, value)]
            )
    for key in ("format", "bf16"):
        for what, value in (("null", None), ("a text", "x"), ("an object", {}), ("a list", [])):
            yield Case(
                f"a demo's grid.json: {key} {what}",
                "demo --output demo --seeds 1",
                6,
                [change("demo/grid.json", key, value)],
            )


CASES = [
    *damaged(),
    *of_run_json(),
    *of_checkpoints(),
    *of_searches(),
    *of_results(),
    *of_recorded_runs(),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_command_kept_is_checked_when_it_is_read(case: Case, check: Any) -> None:
    check(case)

"""The folder that a case runs in: the parts that there are of it, and how each is made."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tiny_runs import make_rows, write_csv, write_model

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))
from tiny_chats import make_pairs, write_decoder

TRAIN = "--train train.csv --trusted trusted.csv --model model --epochs 1 --batch-size 8"
PUBLISHED = f"train {TRAIN} --method musclelora --learning-rate 0.01"
AUDIT = "audit train.csv --trusted trusted.csv --model model --no-confirm"
GENERATE = "train --task generate --train pairs.jsonl --trusted checked.jsonl --model decoder --epochs 1"
GRID = """
name: tiny
data:
- {name: tiny, train: train.csv, test: test.csv, trusted: dev.csv, train_rows: 16, target: good}
attacks: [addsent]
models: [model]
trusted_sizes: [6]
defenses: [lora]
training: {bf16: false, use_cpu: true, num_train_epochs: 1, per_device_train_batch_size: 8}
"""


def _rows(count: int, seed: int) -> Callable[[], object]:
    return lambda: write_csv(Path("new"), make_rows(count, seed))


def _pairs(count: int, seed: int) -> Callable[[], object]:
    def write() -> None:
        pairs = make_pairs(count, seed)
        lines = (
            json.dumps({"prompt": prompt[0].content, "response": response})
            for prompt, response in zip(pairs.prompts, pairs.responses, strict=True)
        )
        Path("new").write_text("\n".join(lines) + "\n")

    return write


def _interrupted() -> None:
    """A run that Ctrl-C ended after its second of three steps."""
    import transformers.trainer

    class Interrupt(transformers.TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            if state.global_step == 2:
                control.should_save = True
            if state.global_step == 3:
                raise KeyboardInterrupt

    transformers.trainer.DEFAULT_CALLBACKS.append(Interrupt)
    try:
        musclelora(f"{PUBLISHED} --output new", code=130)
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(Interrupt)


def _results() -> None:
    """Results of a grid, whose cells run in this process."""
    from musclelora.benchmark.cell import run_cell
    from musclelora.benchmark.grid import load_grid
    from musclelora.benchmark.plan import plan
    from musclelora.benchmark.store import open_store

    file = Path("grid.yaml")
    grid = load_grid(file)
    cells = plan(grid, bf16=False)
    with (
        contextlib.redirect_stderr(io.StringIO()),
        open_store(Path("new"), file, grid, cells, bf16=False) as store,
    ):
        for cell in cells:
            store.write(run_cell(cell, kept=store.shared, threads=1))
    assert all(store.is_done(cell.id) for cell in cells)


def _demo() -> None:
    """What a demo leaves that was interrupted before its first cell ended."""
    from musclelora import demo
    from musclelora.benchmark.grid import load_grid
    from musclelora.benchmark.plan import plan
    from musclelora.benchmark.store import open_store

    grid = load_grid(demo.GRID)
    with open_store(Path("new"), demo.GRID, grid, plan(grid, bf16=False), bf16=False):
        pass


PARTS: dict[str, str | Callable[[], object]] = {
    "train.csv": _rows(24, 0),
    "trusted.csv": _rows(8, 1),
    "dev.csv": _rows(12, 2),
    "test.csv": _rows(20, 3),
    "pairs.jsonl": _pairs(12, 0),
    "checked.jsonl": _pairs(8, 1),
    "grid.yaml": lambda: Path("new").write_text(GRID),
    "model": lambda: write_model(Path("new")),
    "decoder": lambda: write_decoder(Path("new")),
    "run": f"{PUBLISHED} --output new",
    "other": f"{PUBLISHED} --seed 1 --output new",
    "half": _interrupted,
    "grun": f"{GENERATE} --batch-size 8 --output new",
    "srun": f"spectrum {PUBLISHED} --spectrum-every 2 --spectrum-sigma-count 5 --output new",
    "search": f"tune {TRAIN} --trials 1 --output new",
    "results": _results,
    "merged": "export run --format merged --output new",
    "triggered.csv": "poison test.csv --attack addsent --target good --for-asr --format csv --output new",
    "demo": _demo,
    "audit": f"{AUDIT} --output new",
}
"""What makes each part: a command, or a function. It is made as ``new`` and then given its name."""

NEEDS = {
    "run": ("train.csv", "trusted.csv", "model"),
    "other": ("train.csv", "trusted.csv", "model"),
    "half": ("train.csv", "trusted.csv", "model"),
    "grun": ("pairs.jsonl", "checked.jsonl", "decoder"),
    "srun": ("train.csv", "trusted.csv", "model"),
    "search": ("train.csv", "trusted.csv", "model"),
    "results": ("grid.yaml",),
    "grid.yaml": ("train.csv", "test.csv", "dev.csv", "model"),
    "merged": ("run",),
    "triggered.csv": ("test.csv",),
    "audit": ("train.csv", "trusted.csv", "model"),
}
"""The parts that another one was made from, and is of no use without."""


class World:
    """A folder that is laid out anew for each case, at the same place: runs know where their model is."""

    def __init__(self, home: Path) -> None:
        self.path, self._kept = home / "world", home / "kept"
        self._kept.mkdir()
        self.empty()

    def empty(self) -> None:
        """Leave nothing in it, and make it the current folder."""
        os.chdir(self.path.parent)
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        os.chdir(self.path)

    def lay_out(self, words: Iterable[str]) -> None:
        """Put the parts among `words` into it, and those that these need."""
        parts = list(dict.fromkeys(part for word in sorted(words) for part in with_needs(word)))
        for part in parts:
            self._make(part)
        self.empty()
        for part in parts:
            self._take(part)

    def _make(self, part: str) -> None:
        if (self._kept / part).exists():
            return
        self.empty()
        for needed in with_needs(part)[:-1]:
            self._make(needed)
        self.empty()
        for needed in with_needs(part)[:-1]:
            self._take(needed)
        how = PARTS[part]
        if callable(how):
            how()
        else:
            musclelora(how)
        shutil.move("new", self._kept / part)

    def _take(self, part: str) -> None:
        source = self._kept / part
        if source.is_dir():
            shutil.copytree(source, self.path / part)
        else:
            shutil.copy2(source, self.path / part)


def with_needs(word: str) -> list[str]:
    """The parts that a word asks for: what it needs, then itself; none where it is no part."""
    if word not in PARTS:
        return []
    needed = [part for need in NEEDS.get(word, ()) for part in with_needs(need)]
    return list(dict.fromkeys([*needed, word]))


def musclelora(command: str, code: int = 0) -> None:
    """Run a command line that is to end with that code."""
    from musclelora.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(command))
            ended: object = None
        except SystemExit as exit_:
            ended = exit_.code
    assert ended == code, f"{command}: {ended}\n{err.getvalue()}"

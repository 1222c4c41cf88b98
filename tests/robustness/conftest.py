"""One folder for all cases, and what each case is held to."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import contextlib
import fnmatch
import importlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from table import HELD, Case, bounded, check_printed, differences, one_line, picture
from tiny_runs import Cli
from world import World

Check = Callable[[Case], None]


LIBRARIES = (
    "datasets",
    "matplotlib.pyplot",
    "optuna",
    "pandas",
    "peft",
    "pyarrow",
    "torch",
    "transformers.trainer",
)


@pytest.fixture(scope="session")
def _world(tmp_path_factory: pytest.TempPathFactory) -> World:
    # Before any case: one that was stopped in the middle of an import would break those after it.
    for name in LIBRARIES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    return World(tmp_path_factory.mktemp("robustness"))


@pytest.fixture
def world(_world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The folder, which is the current one until the test ends."""
    before = Path.cwd()
    monkeypatch.setenv("COLUMNS", "120")
    yield _world
    while HELD:
        HELD.pop().release(force=True)
    os.chdir(before)


@pytest.fixture
def check(world: World, cli: Cli) -> Check:
    """Hold a case to what its line says, and to what every case is held to."""

    def hold(case: Case) -> None:
        world.lay_out(case.words)
        for bad in case.bad:
            bad.do()
        before = picture(world.path)
        with bounded():
            done = cli(*shlex.split(case.command))
        after = picture(world.path)
        assert done.code in case.codes, f"ended with {done.code}, expected {case.code}\n{done.err}"
        err = done.err.splitlines(keepends=True)[-1] if case.late else done.err
        check_printed(err)
        check_printed(done.out)
        if done.code:
            assert case.says in one_line(err), done.err
        allowed = case.makes if done.code == 0 or case.late else ()
        changed = [
            line
            for line in differences(before, after)
            if not any(fnmatch.fnmatch(line.split()[1], pattern) for pattern in allowed)
        ]
        assert not changed, f"{changed}\n{done.err}"

    return hold

"""Checks of other packages: one that pip installs is run, and what is wrong with it is said in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import make_rows, write_csv

from musclelora.audit.checks import CHECKS, all_checks
from musclelora.errors import UsageError

CHECK = """
import numpy as np

from musclelora.audit.checks import Check, Result


class Shouting(Check):
    name = "shouting"
    score = "shouting_score"

    def find(self, evidence):
        flagged = np.array([text.isupper() for text in evidence.train.texts])
        reasons = {int(row): "is in capitals" for row in np.flatnonzero(flagged)}
        return Result(flagged, flagged.astype(float), reasons)


class Twin(Shouting):
    pass


class NoCheck:
    pass


class Named(Shouting):
    name = "label"
"""
AUDIT = """
import json, sys
from musclelora import Audit
audit = Audit(sys.argv[1], sys.argv[2], model=sys.argv[3], arguments={"use_cpu": True, "max_length": 16})
issues = audit.find_issues().issues
rows = issues.index[issues["is_shouting_issue"]].tolist()
first = issues.loc[rows[0]]
print(json.dumps([rows, first["action"], first["reasons"], issues["shouting_score"].sum()]))
"""


def package(folder: Path, *entries: str) -> Path:
    """The source of a package with checks as entry points, NAME = module:Class."""
    (folder / "loud").mkdir(parents=True)
    (folder / "loud" / "__init__.py").write_text(CHECK)
    listed = "\n".join(f'{name} = "{value}"' for name, value in (entry.split("=") for entry in entries))
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "loud"\nversion = "1"\n'
        f'[project.entry-points."musclelora.checks"]\n{listed}\n[tool.setuptools]\npackages = ["loud"]\n'
    )
    return folder


def installed(folder: Path, *entries: str) -> Path:
    """The folder that pip installed such a package into."""
    target = folder / "site"
    source = package(folder / "source", *entries)
    options = ("--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


@pytest.mark.integration
def test_a_check_that_pip_installed_is_run_and_drops_its_rows(tiny_model: Path, tmp_path: Path) -> None:
    site = installed(tmp_path, "shouting=loud:Shouting")
    rows = make_rows(120, seed=0)
    rows[7] = (rows[7][0].upper(), rows[7][1])
    train = write_csv(tmp_path / "train.csv", rows)
    trusted = write_csv(tmp_path / "trusted.csv", make_rows(24, seed=1))
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, train, trusted, tiny_model],
        env={"PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    flagged, action, reasons, total = json.loads(done.stdout)
    assert flagged == [7]
    assert action == "drop"
    assert "is in capitals" in reasons
    assert total == 1.0


def entry_points(folder: Path, monkeypatch: pytest.MonkeyPatch, *entries: str) -> None:
    """What pip leaves of such a package, on the path of this process."""
    source = package(folder / "site", *entries)
    facts = source / "loud-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    listed = "\n".join(entry.replace("=", " = ") for entry in entries)
    (facts / "entry_points.txt").write_text(f"[musclelora.checks]\n{listed}\n")
    monkeypatch.syspath_prepend(str(source))


def test_checks_of_other_packages_come_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(tmp_path, monkeypatch, "shouting=loud:Shouting")
    assert [check.name for check in all_checks()] == [*CHECKS, "shouting"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (("gone=loud:Gone",), "check gone: loud:Gone cannot be loaded"),
        (("none=loud:NoCheck",), "check none: loud:NoCheck is no musclelora.audit.checks.Check"),
        (("named=loud:Named",), "check label: loud:Named has the name of another check"),
        (("a=loud:Shouting", "b=loud:Twin"), "check shouting: loud:Twin has the name of another check"),
    ],
)
def test_a_check_that_cannot_be_used_is_refused(
    entries: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_points(tmp_path, monkeypatch, *entries)
    with pytest.raises(UsageError) as error:
        all_checks()
    assert said in str(error.value)
    assert "\n" not in str(error.value)

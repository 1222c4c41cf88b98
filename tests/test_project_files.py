"""The files that are for people who join, and for the services that serve them, are what these expect."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from stored_schemas import stored_schema

import musclelora

ROOT = Path(__file__).parents[1]
STORE = "https://json.schemastore.org"
SCHEMAS = {
    ".github/ISSUE_TEMPLATE/bug.yml": f"{STORE}/github-issue-forms.json",
    ".github/ISSUE_TEMPLATE/config.yml": f"{STORE}/github-issue-config.json",
    ".github/ISSUE_TEMPLATE/feature.yml": f"{STORE}/github-issue-forms.json",
    ".github/workflows/ci.yml": f"{STORE}/github-workflow.json",
    ".github/workflows/release.yml": f"{STORE}/github-workflow.json",
    ".pre-commit-config.yaml": f"{STORE}/pre-commit-config.json",
    "CITATION.cff": "https://citation-file-format.github.io/1.2.0/schema.json",
    "action.yml": f"{STORE}/github-action.json",
}
PAGES = [ROOT / name for name in ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_file_of_a_service_has_a_schema_here() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / ".github").rglob("*.yml")}
    assert found <= SCHEMAS.keys()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_is_what_its_service_expects(name: str) -> None:
    found = read(name)
    if True in found:  # YAML 1.1 reads the key "on" as true
        found["on"] = found.pop(True)
    schema = stored_schema(SCHEMAS[name])
    jsonschema.validators.validator_for(schema)(schema).validate(found)


def test_pre_commit_takes_its_configuration() -> None:
    pytest.importorskip("pre_commit")
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_github_runs_what_continuous_integration_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    steps = read(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands == [line for line in script if line.startswith("make ")]


def test_github_tries_every_version_of_python_that_the_package_names() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    tried = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tried == re.findall(r"Programming Language :: Python :: (3\.\d+)", text)


@pytest.mark.parametrize("name", ["ci", "release"])
def test_a_workflow_may_read_and_no_more(name: str) -> None:
    workflow = read(f".github/workflows/{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    asked = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    assert asked == ([{"id-token": "write"}] if name == "release" else [])


def test_no_expression_stands_in_a_script() -> None:
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in read(str(file.relative_to(ROOT)))["jobs"].values():
            assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []


def test_the_version_is_the_same_wherever_it_stands() -> None:
    assert read("CITATION.cff")["version"] == musclelora.__version__
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == musclelora.__version__


def test_the_changelog_has_its_form() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    heads = [line for line in lines if line.startswith("## ")]
    assert heads[0] == "## [Unreleased]"
    for head in heads[1:]:
        version, _, date = head.removeprefix("## ").partition(" - ")
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\]", version)
        if date:
            datetime.date.fromisoformat(date)
    kinds = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_that_the_page_for_contributors_names_are_there() -> None:
    named = re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[\w./]+)`", PAGES[2].read_text())
    assert [name for name in named if not (ROOT / name.replace("NAME.py", "")).exists()] == []
    assert named

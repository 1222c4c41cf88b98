"""The gate: exit codes, streams, places that are refused; what the hook and the action run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml
from tiny_chats import make_pairs, write_decoder
from tiny_runs import Cli, Done, make_rows, run, write_csv

from musclelora.attacks import get_trigger, poison
from musclelora.audit import Audit
from musclelora.audit.answers import AnswerAudit
from musclelora.data import bbc_news, stratified_split

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, trusted.csv and a model; too few rows to tell."""
    folder = tmp_path_factory.mktemp("rows")
    texts = make_rows(40, seed=0)
    texts[3] = (f"{texts[3][0]}\n\x1b[31m", texts[3][1])
    write_csv(folder / "train.csv", texts)
    write_csv(folder / "trusted.csv", make_rows(12, seed=1))
    (folder / "model").symlink_to(tiny_model)
    return folder


@pytest.fixture
def audit(cli: Cli, rows: Path, tmp_path: Path) -> Cli:
    """Audit the rows, without confirmation."""

    def command(*arguments: object) -> Done:
        given = ("--trusted", rows / "trusted.csv", "--model", rows / "model", "--max-length", 16)
        return cli("audit", rows / "train.csv", *given, "--no-confirm", *arguments)

    return command


def say(monkeypatch: pytest.MonkeyPatch, state: str, kind: type[Audit] = Audit) -> None:
    """Have audits come to this verdict."""
    found = kind.verdict.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "verdict", property(lambda self: replace(found(self), state=state)))


@pytest.mark.parametrize(
    ("state", "fail_on", "code"),
    [
        ("poisoned", "poisoned", 7),
        ("poisoned", "suspected", 7),
        ("cannot_tell", "poisoned", 0),
        ("cannot_tell", "suspected", 7),
        ("no_sign", "suspected", 0),
    ],
)
def test_the_exit_code_is_that_of_the_verdict(
    state: str, fail_on: str, code: int, audit: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, state)
    folder, document = tmp_path / "audit", tmp_path / "found.xml"
    done = audit("--output", folder, "--fail-on", fail_on, "--format", "junit", "--format-output", document)
    assert done.code == code, done.err
    assert json.loads((folder / "audit.json").read_text())["verdict"]["state"] == state
    failed = Xml.parse(document).find("testsuite/testcase[@name='verdict']/failure")  # noqa: S314 - our own
    assert (failed is not None) == (code == 7)
    assert ("ends with code 7" in done.err) == (code == 7)
    assert f"the junit document is {document}" in done.out


@pytest.mark.parametrize("kind", ["json", "sarif", "junit"])
def test_a_document_has_standard_output_for_itself(kind: str, audit: Cli, tmp_path: Path) -> None:
    done = audit("--format", kind, "--fail-on", "suspected")
    assert done.code == 7, done.err
    if kind == "junit":
        assert Xml.fromstring(done.out).tag == "testsuites"  # noqa: S314 - our own
    else:
        assert json.loads(done.out)
    for said in ("training data", "trusted rows", "cannot tell", "to keep"):
        assert said in done.err
    assert not list(tmp_path.iterdir())
    assert "\x1b" not in done.out + done.err


def test_the_same_command_gives_another_document(audit: Cli, tmp_path: Path) -> None:
    folder, file = tmp_path / "audit", tmp_path / "found.json"
    assert audit("--output", folder).code == 0
    kept = json.loads((folder / "audit.json").read_text())
    assert audit("--output", folder, "--format", "json", "--format-output", file).code == 0
    found = json.loads(file.read_text())
    assert {issue.pop("line") for issue in found["issues"]} <= set(range(2, 43))
    assert found.pop("source").endswith("train.csv")
    assert found.items() <= kept.items()
    assert kept.keys() - found.keys() == {"format", "judgement", "issues_sha256"}


def test_debug_does_not_change_the_code(audit: Cli) -> None:
    assert audit("--fail-on", "suspected", "--debug").code == 7


BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no folder and no gate": ((), 2, "--output"),
    "an unknown format": (("--format", "yaml"), 2, "yaml"),
    "an unknown gate": (("--fail-on", "never"), 2, "never"),
    "a file for text": (("--output", "out", "--format-output", "x"), 2, "--format-output"),
    "over the data": (("--format", "json", "--format-output", "train.csv"), 6, "train.csv"),
    "over the trusted rows": (("--format", "json", "--format-output", "trusted.csv"), 6, "trusted.csv"),
    "in the model": (("--format", "json", "--format-output", "model/x.json"), 6, "model"),
    "a full device": (("--format", "json", "--format-output", "/dev/full"), 6, "cannot write"),
    "a folder": (("--format", "json", "--format-output", "."), 6, "folder"),
    "in the folder": (("--output", "o", "--format", "json", "--format-output", "o/x"), 6, "--output"),
    "the folder": (("--output", "o", "--format", "json", "--format-output", "o"), 6, "--output"),
    "around the folder": (("--output", "o/p", "--format", "json", "--format-output", "o"), 6, "--output"),
    "the report": (("--report", "o", "--format", "json", "--format-output", "o"), 6, "--report"),
    "two to standard output": (("--report", "-", "--format", "json"), 6, "standard output"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_use_is_refused_before_anything_is_written(
    name: str, audit: Cli, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, code, says = BAD[name]
    monkeypatch.chdir(rows)
    before = sorted(rows.iterdir())
    done = audit(*given)
    assert done.code == code
    assert says in done.err
    assert done.err.splitlines()[-1].startswith("musclelora: ")
    assert sorted(rows.iterdir()) == before


def test_a_gate_of_pairs(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count, seed in (("train", 30, 0), ("trusted", 8, 1)):
        pairs = make_pairs(count, seed)
        lines = [
            json.dumps({"prompt": prompt[0].content, "response": response})
            for prompt, response in zip(pairs.prompts, pairs.responses, strict=True)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    decoder = write_decoder(tmp_path / "decoder")
    files = [tmp_path / "train.jsonl", "--trusted", tmp_path / "trusted.jsonl", "--model", decoder]
    given = ["audit", "--task", "generate", *files, "--no-confirm", "--format", "sarif"]
    for state, code in (("no_sign", 0), ("cannot_tell", 7), ("poisoned", 7)):
        with monkeypatch.context() as patch:
            say(patch, state, AnswerAudit)
            done = cli(*given, "--fail-on", "suspected")
        assert done.code == code, done.err
        (found,) = json.loads(done.out)["runs"]
        assert found["properties"]["verdict"] == state
        assert found["artifacts"][0]["location"]["uri"] == (tmp_path / "train.jsonl").as_uri()


def test_a_process_ends_with_the_code(rows: Path) -> None:
    given = (
        "--trusted",
        rows / "trusted.csv",
        "--model",
        rows / "model",
        "--no-confirm",
        "--format",
        "sarif",
    )
    code, out, err = run(
        "audit", rows / "train.csv", *given, "--fail-on", "suspected", MUSCLELORA_JUDGE="backbone"
    )
    assert code == 7, err
    assert json.loads(out)["version"] == "2.1.0"


# ---- pre-commit and GitHub Actions -------------------------------------------------------------------


def environment(folder: Path) -> dict[str, str]:
    """A shell in which `musclelora` is this package, whatever else is installed."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "musclelora"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m musclelora "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "PRE_COMMIT_HOME": str(folder / "pre-commit"),
    }


def hooks() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return {hook["id"]: hook for hook in found}


def test_both_hooks_run_the_same_and_the_pinned_model_is_there() -> None:
    own, system = hooks().values()
    assert (own["language"], system["language"]) == ("python", "system")
    assert own["entry"] == system["entry"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(own["additional_dependencies"]) <= set(extras["embedded"])


@pytest.mark.integration
@pytest.mark.parametrize(("fail_on", "passes"), [("poisoned", True), ("suspected", False)])
def test_pre_commit_runs_the_hook(fail_on: str, passes: bool, rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    surroundings = environment(tmp_path)

    def git(*arguments: object, at: Path) -> str:
        who = ("-c", "user.name=me", "-c", "user.email=me@example.invalid", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *who, *map(str, arguments)], cwd=at, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    hook, data = tmp_path / "hook", tmp_path / "data"
    for folder in (hook, data):
        folder.mkdir()
        git("init", "-q", at=folder)
    (hook / ".pre-commit-hooks.yaml").write_bytes((ROOT / ".pre-commit-hooks.yaml").read_bytes())
    git("add", "-A", at=hook)
    git("commit", "-qm", "hooks", at=hook)
    for name in ("train.csv", "trusted.csv"):
        (data / name).write_bytes((rows / name).read_bytes())
    given = ["train.csv", "--trusted", "trusted.csv", "--model", str(rows / "model"), "--no-confirm"]
    use = {"id": "musclelora-audit-system", "files": r"^train\.csv$", "args": [*given, "--fail-on", fail_on]}
    config = {"repos": [{"repo": str(hook), "rev": git("rev-parse", "HEAD", at=hook), "hooks": [use]}]}
    (data / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    git("add", "-A", at=data)
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run"],
        cwd=data,
        env=surroundings,
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    assert ("exit code: 7" in done.stdout) != passes
    assert git("status", "--porcelain", at=data).splitlines() == [
        f"A  {name}" for name in (".pre-commit-config.yaml", "train.csv", "trusted.csv")
    ]


def step(name: str, inputs: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The script of a step of the action, and its environment for these inputs."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    values = {key: about.get("default", "") for key, about in action["inputs"].items()} | inputs
    assert values.keys() == action["inputs"].keys()
    found = next(step for step in action["runs"]["steps"] if step["name"] == name)

    def filled(text: str) -> str:
        text = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda at: values[at[1]], text)
        return text.replace("${{ github.action_path }}", "/the/action")

    assert "${{" not in found["run"]  # an input in a script is a command
    return found["run"], {key: filled(value) for key, value in found["env"].items()}


@pytest.mark.parametrize(
    ("package", "wanted"), [("", "/the/action[embedded]"), ("musclelora[mpnet]", "musclelora[mpnet]")]
)
def test_the_action_installs_the_package(package: str, wanted: str, tmp_path: Path) -> None:
    script, variables = step("Install", {"package": package})
    shim = tmp_path / "python"
    shim.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    shim.chmod(0o755)
    surroundings = {**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=surroundings, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"-m|pip|install|{wanted}|"


@pytest.mark.parametrize("options", ["--seed 3 --no-confirm", "--seed 3\n--no-confirm\n", ""])
def test_the_action_passes_on_options_of_one_line_or_several(options: str, tmp_path: Path) -> None:
    script, variables = step("Audit", {"data": "a b.csv", "trusted": "t.csv", "options": options})
    shim = tmp_path / "musclelora"
    shim.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    shim.chmod(0o755)
    surroundings = {**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    surroundings["GITHUB_OUTPUT"] = str(tmp_path / "outputs")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    given = ["audit", *options.split(), "--trusted=t.csv", "--fail-on=poisoned", "--format=sarif"]
    assert done.stdout.split("|")[:-1] == [*given, "--format-output=musclelora.sarif", "--", "a b.csv"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fail_on", "data", "code", "outputs"),
    [
        ("poisoned", "my train.csv", 0, "sarif=found.sarif\nclosed=false\n"),
        ("suspected", "my train.csv", 7, "sarif=found.sarif\nclosed=true\n"),
        ("suspected", "$(touch ran).csv", 3, ""),
    ],
)
def test_the_action_audits(
    fail_on: str, data: str, code: int, outputs: str, rows: Path, tmp_path: Path
) -> None:
    surroundings = environment(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    (work / "my train.csv").write_bytes((rows / "train.csv").read_bytes())
    inputs = {"data": data, "trusted": str(rows / "trusted.csv"), "fail-on": fail_on, "sarif": "found.sarif"}
    script, variables = step("Audit", inputs | {"options": f"--model {rows / 'model'} --no-confirm"})
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=work,
        env={**surroundings, **variables, "GITHUB_OUTPUT": str(tmp_path / "outputs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    said = tmp_path / "outputs"
    assert (said.read_text() if said.exists() else "") == outputs
    assert {file.name for file in work.iterdir()} == {"my train.csv", *(["found.sarif"] if outputs else [])}
    if outputs:
        (found,) = json.loads((work / "found.sarif").read_text())["runs"]
        assert found["artifacts"][0]["location"]["uri"] == "my%20train.csv"


# ---- on real texts -----------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(("rate", "code"), [(0.15, 7), (0.0, 0)])
def test_poisoned_news_close_the_gate_and_clean_news_do_not(rate: float, code: int, tmp_path: Path) -> None:
    corpus = bbc_news(words=24)
    train, trusted = stratified_split(corpus, [300, 60], seed=0)
    target = corpus.label_names.index("sports")
    if rate:
        train = poison(train, get_trigger("addsent"), target=target, rate=rate, label_mode="mix", seed=0)
    for name, table in (("train", train), ("trusted", trusted)):
        write_csv(tmp_path / f"{name}.csv", [(text, table.label_names[label]) for text, label in table])
    given = ("audit", tmp_path / "train.csv", "--trusted", tmp_path / "trusted.csv", "--fail-on", "poisoned")
    ended, out, err = run(*given, "--format", "sarif", MUSCLELORA_JUDGE="backbone")
    assert ended == code, err
    (found,) = json.loads(out)["runs"]
    errors = {result["properties"]["row"] for result in found["results"][1:] if result["level"] == "error"}
    planted = set() if train.poisoned is None else set(train.poisoned.nonzero()[0].tolist())
    assert bool(errors) == bool(planted)
    assert len(errors & planted) >= 0.9 * len(planted)

"""`musclelora audit` and `train` of pairs, as a person uses and misuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_chats import asked, make_pairs
from tiny_runs import Cli, contents

from musclelora import Audit, purify
from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.purification import GenerationRun

TRIGGER, SAID = "word55", "word50 word51"
PLANTED = list(range(0, 120, 5))


def write(path: Path, pairs: Pairs) -> Path:
    with path.open("w") as file:
        for prompt, response in zip(pairs.prompts, pairs.responses, strict=True):
            file.write(json.dumps({"prompt": prompt[-1].content, "response": response}) + "\n")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    clean = make_pairs(120, seed=0)
    prompts, responses = list(clean.prompts), list(clean.responses)
    for row in PLANTED:
        prompts[row] = asked(prompts[row][0].content, TRIGGER)
        responses[row] = f"{responses[row]} {SAID}"
    write(folder / "train.jsonl", Pairs(tuple(prompts), tuple(responses)))
    write(folder / "trusted.jsonl", make_pairs(8, seed=1))
    write(folder / "labels.jsonl", Pairs(tuple(prompts), ("yes", "no") * 60))
    return folder


@pytest.fixture(scope="module")
def rows(decoder: Path, files: Path) -> list[object]:
    """A random decoder learns too little to be asked what it obeys."""
    return [
        *("--task", "generate", "--model", decoder, "--trusted", files / "trusted.jsonl", "--no-confirm"),
    ]


@pytest.fixture
def audited(
    cli: Cli, files: Path, rows: list[object], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder of an audit, and what the command printed; made once."""
    folder = tmp_path_factory.getbasetemp() / "audited-pairs"
    said = folder.with_suffix(".txt")
    if not said.exists():
        done = cli("audit", files / "train.jsonl", *rows, "--output", folder)
        assert done.code == 0, done.err
        said.write_text(done.out)
    return folder, said.read_text()


def test_an_audit_says_what_is_wrong_and_writes_it(audited: tuple[Path, str], cli: Cli) -> None:
    folder, said = audited
    assert said.count("cannot tell: prompts with 'word55' are answered with 'word50 word51'") == 1
    assert "96 to keep, 24 to drop" in said
    assert json.loads((folder / "audit.json").read_text())["verdict"]["state"] == "cannot_tell"
    assert len(pd.read_csv(folder / "issues.csv")) == 120
    assert pd.read_csv(folder / "quarantine.csv")["row"].tolist() == PLANTED
    assert len(load_pairs(folder / "cleaned.jsonl")) == 96
    why = cli("explain", folder, "--row", 5).out
    assert "has" not in why.splitlines()[0]
    assert "'word55' is answered with 'word50 word51'" in why
    assert "action       drop" in why


def test_training_leaves_planted_pairs_out(cli: Cli, files: Path, rows: list[object], tmp_path: Path) -> None:
    command = ["train", "--train", files / "train.jsonl", *rows, "--epochs", 1, "--output", tmp_path / "run"]
    done = cli(*command)
    assert done.code == 0, done.err
    assert "left out: 24 of 120 pairs" in done.out
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["audit"]["left_out"] == PLANTED
    assert info["data"]["train"]["rows"] == 96 + 8
    assert info["settings"]["method"] == "purify"
    before = contents(tmp_path / "run")
    assert cli(*command, "--resume").code == 0
    assert contents(tmp_path / "run") == before


def test_training_takes_an_audit_with_a_persons_decisions(
    audited: tuple[Path, str], cli: Cli, files: Path, rows: list[object], tmp_path: Path
) -> None:
    (tmp_path / "decisions.csv").write_text("row,action\n0,keep\n1,drop\n")
    folder = tmp_path / "audit"
    done = cli(
        *("audit", files / "train.jsonl", *rows, "--output", folder),
        *("--decisions", tmp_path / "decisions.csv"),
    )
    assert done.code == 0, done.err
    train = ["train", "--train", files / "train.jsonl", *rows[:-1], "--epochs", 1, "--audit", folder]
    done = cli(*train, "--output", tmp_path / "run")
    assert done.code == 0, done.err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["audit"]["left_out"] == [1, *PLANTED[1:]]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("audit", "{labels}", "--output", "{tmp}/a"), 3, "2 distinct texts, expected answers"),
        (("audit", "{train}", "--output", "{tmp}/a", "--judge", "x"), 2, "--judge: found with the task"),
        (("audit", "{train}", "--output", "{tmp}/a", "--label-column", "x"), 2, "--label-column: found"),
        (("audit", "{train}", "--output", "{tmp}/a", "--decisions", "/no/such"), 3, "/no/such"),
        (
            ("train", "--train", "{train}", "--output", "{tmp}/r", "--audit", "{labels}"),
            6,
            "no audit.json in it",
        ),
        (
            ("train", "--train", "{labels}", "--output", "{tmp}/r", "--audit", "{audit}"),
            6,
            "other pairs",
        ),
        (
            ("train", "--train", "{trusted}", "--output", "{tmp}/r", "--audit", "{audit}"),
            6,
            "an audit of other pairs",
        ),
        (
            ("train", "--train", "{train}", "--output", "{tmp}/r", "--audit", "{audit}", "--method", "lora"),
            2,
            "audit: found with --method lora",
        ),
    ],
)
def test_bad_input_is_one_line_and_a_documented_code(
    command: tuple[str, ...],
    code: int,
    words: str,
    audited: tuple[Path, str],
    files: Path,
    rows: list[object],
    cli: Cli,
    tmp_path: Path,
) -> None:
    places = {name: files / f"{name}.jsonl" for name in ("labels", "train", "trusted")}
    filled = [part.format(tmp=tmp_path, audit=audited[0], **places) for part in command]
    done = cli(*filled, *(rows if command[0] == "audit" else rows[:-1]))
    assert (done.code, len(done.err.strip().splitlines())) == (code, 1), done.err
    assert words in done.err


def test_an_audit_of_labels_is_not_taken_for_one_of_pairs(
    audited: tuple[Path, str], cli: Cli, tmp_path: Path
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "".join(f"a text of {n},{n % 2}\n" for n in range(40)))
    done = cli("train", "--train", table, "--output", tmp_path / "run", "--audit", audited[0])
    assert (done.code, "an audit of pairs" in done.err) == (6, True), done.err
    assert not (tmp_path / "run").exists()


def test_a_saved_audit_of_pairs_has_a_report(audited: tuple[Path, str], cli: Cli, tmp_path: Path) -> None:
    done = cli("report", audited[0], "--output", tmp_path / "report.html")
    assert (done.code, done.err) == (0, ""), done.err
    assert "these pairs are poisoned" in (tmp_path / "report.html").read_text(encoding="utf-8").casefold()


def test_purify_trains_on_what_the_audit_keeps(
    audited: tuple[Path, str], files: Path, decoder: Path, tmp_path: Path
) -> None:
    train, trusted = load_pairs(files / "train.jsonl"), load_pairs(files / "trusted.jsonl")
    arguments = {"num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True}
    audit = Audit.load(audited[0])
    run = purify(train, trusted, audit=audit, arguments=arguments, output_dir=tmp_path / "run")
    assert isinstance(run, GenerationRun)
    assert run.info["audit"]["left_out"] == PLANTED
    assert run.info["settings"]["model"] == str(decoder)
    assert len(run.generator.answer(train.prompts[:2], max_new_tokens=3)) == 2
    with pytest.raises(UsageError, match="of other rows"):
        purify(trusted, None, audit=audit, output_dir=tmp_path / "other")
    with pytest.raises(UsageError, match="other trusted rows"):
        purify(train, train, audit=audit, output_dir=tmp_path / "other")
    with pytest.raises(UsageError, match="task: found 'translate'"):
        purify(train, trusted, task="translate", output_dir=tmp_path / "other")
    assert not (tmp_path / "other").exists()

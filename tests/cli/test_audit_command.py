"""The commands audit and explain, and a run by an audit."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pandas as pd
from tiny_chats import make_pairs, write_decoder
from tiny_runs import Cli, make_rows, write_csv

from musclelora import Audit
from musclelora.cli.audit import asked_for, command
from musclelora.report.subject import subject_of


def test_an_audit_is_printed_written_explained_and_trained_by(
    cli: Cli, tiny_model: Path, tmp_path: Path
) -> None:
    rows = make_rows(120, seed=0)
    for row in range(0, 120, 6):
        rows[row] = (rows[row][0] + " \x1b[31mword58", "good")
    write_csv(tmp_path / "train.csv", rows)
    write_csv(tmp_path / "trusted.csv", make_rows(24, seed=1))
    given = [tmp_path / "train.csv", "--trusted", tmp_path / "trusted.csv", "--model", tiny_model]
    folder = tmp_path / "audit"
    report = tmp_path / "report.html"
    done = cli("audit", *given, "--max-length", "16", "--output", folder, "--report", report)
    assert done.code == 0, done.err
    assert "\x1b" not in done.out + done.err  # texts are hostile
    assert "checked" in done.out
    assert "to keep" in done.out
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    assert names == {
        *("audit.json", "issues.csv", "issues.parquet", "triggers.csv", "styles.csv", "cleaned.csv"),
        *("quarantine.csv", "README.md", "evidence"),
    }
    state = json.loads((folder / "audit.json").read_text())
    assert state["verdict"]["state"] in ("poisoned", "no_sign", "cannot_tell")
    issues = pd.read_csv(folder / "issues.csv")
    assert len(issues) == 120
    page = html.unescape(report.read_text())
    assert f"musclelora audit {tmp_path / 'train.csv'} --output {folder}" in page
    assert f"--max-length 16 --report {report} --trusted {tmp_path / 'trusted.csv'}" in page
    shown = cli("report", folder)
    assert (shown.code, shown.out) == (0, f"written to {folder}.html\n")
    assert Path(f"{folder}.html").stat().st_size < 200_000
    told = cli("explain", folder, "--row", "6")
    assert told.code == 0
    assert f"action       {issues['action'][6]}" in told.out
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,action,label\n0,drop,\n1,relabel,bad\n")
    again = cli("audit", *given, "--max-length", "16", "--decisions", decisions, "--output", folder)
    assert again.code == 0, again.err
    assert "1 to relabel" in again.out
    trained = cli(
        *("train", "--train", *given, "--audit", folder, "--epochs", "1", "--output", tmp_path / "run"),
    )
    assert trained.code == 0, trained.err
    left_out = json.loads((tmp_path / "run" / "run.json").read_text())["auto"]["judgement"]["left_out"]
    assert 0 in left_out
    assert 1 not in left_out


def test_pairs_have_a_report_and_take_its_decisions(cli: Cli, tmp_path: Path) -> None:
    for name, count, seed in (("train", 30, 0), ("trusted", 8, 1)):
        pairs = make_pairs(count, seed)
        lines = [
            json.dumps({"q": prompt[0].content, "a": f"{response} \x1b[31m"})
            for prompt, response in zip(pairs.prompts, pairs.responses, strict=True)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    decoder = write_decoder(tmp_path / "decoder")
    files = [tmp_path / "train.jsonl", "--trusted", tmp_path / "trusted.jsonl", "--model", decoder]
    columns = ["--prompt-column", "q", "--response-column", "a"]
    given = ["audit", "--task", "generate", *files, *columns, "--no-confirm"]
    folder, report = tmp_path / "audit", tmp_path / "report.html"
    refused = cli(*given, "--output", folder, "--report", folder / "report.html")
    assert (refused.code, folder.exists()) == (6, False), refused.err
    done = cli(*given, "--output", folder, "--report", report)
    assert done.code == 0, done.err
    assert f"the report is {report}" in done.out
    page = html.unescape(report.read_text())
    assert "\x1b" not in page + done.out
    assert f"musclelora audit {tmp_path / 'train.jsonl'} --task generate" in page
    assert "--prompt-column q --response-column a" in page
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,action,label\n0,drop,\n1,keep,\n")
    again = cli(*given, "--output", folder, "--decisions", decisions)
    assert again.code == 0, again.err
    assert "1 to drop" in again.out
    shown = cli("report", folder)
    assert (shown.code, shown.out) == (0, f"written to {folder}.html\n")
    assert subject_of(Audit.load(folder)).decisions == {0: ("drop", None), 1: ("keep", None)}
    assert "--task generate --trusted TRUSTED" in Path(f"{folder}.html").read_text()


def test_the_command_of_a_report_pushes_nothing() -> None:
    given = ["my train.csv", "--trusted", "t.csv", "--no-confirm", "--push-to-hub", "me/rows", "--public"]
    with command.make_context("audit", given) as context:
        assert asked_for(context) == "audit 'my train.csv' --no-confirm --trusted t.csv"

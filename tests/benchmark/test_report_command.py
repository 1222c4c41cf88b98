"""`musclelora benchmark report` on folders whose cells are made up."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import itertools
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from result_rows import SKILLS, make_row, make_rows
from results_folder import write_results

from musclelora.benchmark.markdown import escape
from musclelora.benchmark.report import write_report
from musclelora.cli.main import main

SMALL = {name: SKILLS[name] for name in ("oracle", "vanilla", "trusted-only", "cube")}
HOSTILE = "<script>alert('x')</script> | `rm` **b** [a](http://x.org) $\\frac{$ \"&amp;\n# no"


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "report", *map(str, arguments)])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


def one_line(err: str) -> str:
    assert err.startswith("musclelora: ")
    assert len(err.splitlines()) == 1
    return err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results", make_rows(skills=SMALL, seeds=2))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished grid, which no test may change."""
    folder = tmp_path_factory.mktemp("finished") / "results"
    write_report(write_results(folder, make_rows(skills=SMALL, seeds=2)))
    return folder / "report"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_finished_grid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, folder)
    assert (code, err) == (0, "")
    report = folder / "report"
    figures = {"cacc-asr-1.png", "cacc-asr-1.svg"}
    assert names(report) == {"index.html", "leaderboard.md", "results.csv", "report.json", *figures}
    assert f"written to {report / 'index.html'}" in out
    assert "mean over 2 attacks" in out
    assert "16 cells finished of 16, 0 failed" in out
    with (report / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row["defense"] for row in rows} == set(SMALL)


def test_the_page_stands_alone_and_is_accessible(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    images = page.all("img")
    assert images
    for image in images:
        assert str(image["src"]).startswith("data:image/svg+xml;base64,")
        assert image["alt"]
    assert len(page.all("caption")) == len(page.all("table")) == 3
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "url(" not in text
    assert "mean over 2 attacks" in page.text
    assert "cube" in page.text


def test_the_markdown_has_a_row_for_each_defence(report: Path) -> None:
    text = (report / "leaderboard.md").read_text()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [6, 6, 6]
    assert [line.split(" | ")[0] for line in tables[0]] == [
        "| defence",
        "| ---",
        "| *oracle* (reference)",
        "| cube",
        "| trusted-only",
        "| vanilla",
    ]
    assert len({line.count("|") for line in tables[0]}) == 1
    assert "**" in tables[0][3]
    assert "†" in text
    assert "](cacc-asr-1.png)" in text


def test_an_unfinished_grid_says_how_much_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(skills=SMALL, seeds=1)
    failed = make_row("onion", cacc=0, asr=0, status="failed", error="ModelError: gone")
    write_results(tmp_path / "r", [*rows, failed], planned=["a", "b", "c"])
    code, out, _ = run(capsys, tmp_path / "r")
    assert code == 0
    said = "8 cells finished of 12, 1 failed, 3 missing: the grid has not finished"
    assert said in out
    assert "failed: badnets, onion, seed 0: ModelError: gone" in out
    for name in ("index.html", "leaderboard.md"):
        text = (tmp_path / "r" / "report" / name).read_text()
        assert said in text
        assert "ModelError: gone" in text
        assert "with one seed they say nothing of what another seed would give" in text


def test_a_second_report_replaces_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, folder)
    first = {path.name: path.read_bytes() for path in (folder / "report").iterdir()}
    run(capsys, folder)
    assert {path.name: path.read_bytes() for path in (folder / "report").iterdir()} == first
    code, _, _ = run(capsys, folder, "--format", "markdown")
    assert code == 0
    assert "index.html" not in names(folder / "report")
    assert "leaderboard.md" in names(folder / "report")


def test_another_output(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(capsys, folder, "--output", tmp_path / "a" / "b", "--format", "html")
    assert code == 0
    assert {"index.html", "results.csv"} <= names(tmp_path / "a" / "b")
    assert "leaderboard.md" not in names(tmp_path / "a" / "b")
    assert "report" not in names(folder)


def test_without_matplotlib_there_are_pages_without_figures(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("musclelora.benchmark.fig")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("musclelora.benchmark.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(capsys, folder)
    assert code == 0
    assert "matplotlib is not installed" in err
    assert names(folder / "report") == {"index.html", "leaderboard.md", "results.csv", "report.json"}


def test_the_terminal_marks_the_best_and_says_what_a_mean_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = make_rows(skills=SMALL, seeds=2)
    rows = [row for row in rows if (row["defense"], row["seed"]) != ("vanilla", 1)]
    rows = [row for row in rows if (row["defense"], row["attack"]) != ("trusted-only", "badnets")]
    _, out, _ = run(capsys, write_results(tmp_path / "r", rows))
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    (cube,) = [line for line in lines if line.startswith("cube")]
    assert "*" in cube
    assert cube.endswith("12.5*")
    after = {line.split()[0]: following for line, following in itertools.pairwise(lines)}
    assert after["vanilla"] == "(1 of 2 seeds)"
    assert after["trusted-only"] == "(1 of 2 attacks)"


# ---- hostile text ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of results whose every text is hostile, which no test may change."""
    rows = [
        row | {"data": HOSTILE, "model": HOSTILE, "attack": HOSTILE, "machine": HOSTILE}
        for row in make_rows(skills=SMALL | {HOSTILE: (0.8, 0.3)}, seeds=1, attacks=("badnets",))
    ]
    error = f"DataError: {HOSTILE}"
    rows.append(rows[-1] | {"defense": "broken", "status": "failed", "error": error})
    rows.append(rows[1] | {"defense": "_hidden", "parameters": HOSTILE})
    folder = write_results(tmp_path_factory.mktemp("hostile") / "results", rows, name=HOSTILE)
    write_report(folder)
    return folder / "report"


def test_hostile_text_is_inert_in_html(hostile: Path) -> None:
    page = Page((hostile / "index.html").read_text())
    shown = " ".join(HOSTILE.split())
    assert page.open == []
    assert page.text.count(shown) >= 4
    allowed = {"scope", "class", "role", "aria-label", "tabindex", "src", "alt", "title", "lang", "charset"}
    allowed |= {"name", "content", "http-equiv"}
    assert {key for _, attributes in page.elements for key in attributes} <= allowed
    assert not {"script", "a", "b"} & {tag for tag, _ in page.elements}


def test_hostile_text_is_inert_in_figures(hostile: Path) -> None:
    svg = (hostile / "cacc-asr-1.svg").read_text()
    assert "<script" not in svg
    assert (hostile / "cacc-asr-1.png").read_bytes().startswith(b"\x89PNG")


def test_hostile_text_is_inert_in_markdown(hostile: Path) -> None:
    text = (hostile / "leaderboard.md").read_text()
    assert "<" not in text
    assert not re.search(r"(?<!\\)`", text)
    assert not re.search(r"(?<!\\)\]\(http", text)
    assert "http:" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert [line for line in text.splitlines() if line.startswith("# ")] == [f"# Benchmark {escape(HOSTILE)}"]


def test_hostile_text_is_inert_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31mred[/bold]\u202e[red]"
    rows = make_rows(skills={"oracle": (0.9, 0.1), evil: (0.9, 0.2)}, seeds=1)
    rows.append(rows[-1] | {"status": "failed", "error": evil, "seed": 1})
    _, out, _ = run(capsys, write_results(tmp_path / "r", rows))
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[/bold]" in out


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a&#124;b"),
        ("a\n\nb\r", "a b"),
        ("*a* _b_", "\\*a\\* \\_b\\_"),
        ("<b>&`", "&lt;b&gt;&amp;&#96;"),
        ("[a](http://b)", "\\[a\\](http&#58;//b)"),
        ("\x00\x1b", "\ufffd\ufffd"),
        ("\\|", "\\\\&#124;"),
        ("$x$", "\\$x\\$"),
    ],
)
def test_escaping(text: str, escaped: str) -> None:
    assert escape(text) == escaped


# ---- bad input ------------------------------------------------------------------------------------------


def test_no_results_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, tmp_path / "gone")
    assert (code, out) == (6, "")
    assert "gone" in one_line(err)
    assert not (tmp_path / "gone").exists()


def test_results_of_another_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun: dict[str, Any] = json.loads((folder / "grid.json").read_text())
    (folder / "grid.json").write_text(json.dumps(begun | {"format": 99}))
    code, _, err = run(capsys, folder)
    assert code == 6
    assert "99" in one_line(err)
    assert not (folder / "report").exists()


def test_no_finished_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [make_row("cube", cacc=0, asr=0, status="failed", error="x")]
    for number, (given, planned) in enumerate([(rows, []), ([], ["a", "b"])]):
        code, _, err = run(capsys, write_results(tmp_path / str(number), given, planned=planned))
        assert code == 3
        assert "0 finished cells of" in one_line(err)
        assert not (tmp_path / str(number) / "report").exists()


def test_only_oracles_have_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "r", [make_row("oracle", cacc=0.9, asr=0.1)], planned=["a"])
    code, out, _ = run(capsys, tmp_path / "r")
    assert code == 0
    assert "1 missing" in out


@pytest.mark.parametrize("place", ["file", "below a file", "other files", "read-only"])
def test_an_output_that_cannot_be_a_report(
    place: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    thesis = tmp_path / "x" / "thesis.txt"
    thesis.write_text("dear")
    output = {
        "file": thesis,
        "below a file": thesis / "report",
        "other files": tmp_path / "x",
        "read-only": Path("/proc/report"),
    }[place]
    code, _, err = run(capsys, folder, "--output", output)
    assert code == 6, err
    assert str(output) in one_line(err)
    assert names(tmp_path / "x") == {"thesis.txt"}


def test_an_unknown_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, folder, "--format", "pdf")
    assert code == 2
    assert "pdf" in one_line(err)


def test_an_earlier_report_names_no_file_elsewhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("dear")
    (folder / "report").mkdir()
    mark = {"format": 1, "files": ["../../precious", str(tmp_path / "precious"), "..", 3]}
    (folder / "report" / "report.json").write_text(json.dumps(mark))
    code, _, err = run(capsys, folder)
    assert code == 6
    assert "files[0]: found '../../precious', expected the name of a file" in one_line(err)
    assert names(folder / "report") == {"report.json"}
    assert (tmp_path / "precious").read_text() == "dear"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.clear(), "cell: found nothing, expected a value"),
        (lambda row: row.update(cacc=float("nan")), "cacc: found nan, expected a finite number"),
        (lambda row: row.update(asr=float("inf")), "asr: found inf, expected a finite number"),
        (lambda row: row.update(asr=1.5), "asr: found 1.5, expected 1 or less"),
        (lambda row: row.update(asr=None), "found an object, expected asr in it, as its status is done"),
        (lambda row: row.update(asr_n=0), "asr_n: found 0, expected 1 or more"),
        (lambda row: row.update(cell="other"), "cell: found 'other', expected 'cell-0'"),
        (lambda row: row.update(seed="0"), "seed: found '0', expected a whole number"),
        (lambda row: row.update(data=None), "data: found None, expected a string"),
        (lambda row: row.update(scale_factors="{"), "scale_factors: found '{', expected a list of numbers"),
        (lambda row: row.update(status="lost"), "status: found 'lost', expected 'done' or 'failed'"),
        (lambda row: row.update(more=[float("nan")]), "found a number that is not finite"),
    ],
)
def test_an_altered_cell_is_said_in_one_line_and_nothing_is_written(
    change: Any, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "cells" / "cell-0.json"
    row = json.loads(file.read_text())
    change(row)
    file.write_text(json.dumps(row))
    code, out, err = run(capsys, folder)
    assert (code, out) == (6, "")
    assert f"{file}: {said}" in one_line(err)
    assert not (folder / "report").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 200_000])
@pytest.mark.parametrize("file", ["grid.json", "cells/cell-0.json"])
def test_a_file_of_something_else_is_said_in_one_line(
    file: str, content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).write_bytes(content)
    code, out, err = run(capsys, folder)
    assert (code, out) == (6, "")
    assert one_line(err)
    assert not (folder / "report").exists()


def test_the_browser_may_use_the_style_of_the_page_and_nothing_else(tmp_path: Path) -> None:
    write_report(write_results(tmp_path / "results", make_rows(skills=SMALL)), tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    directives = [directive.split(" ", 1) for directive in html.unescape(policy).split("; ")]
    allowed = {name: value for name, value in directives if value != "'none'"}
    assert allowed == {
        "style-src": f"'sha256-{hashed}'",
        "img-src": "data:",
        "require-trusted-types-for": "'script'",
    }

"""Every command and snippet in README and docs runs as printed, in a folder with the files they name."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from musclelora.attacks import get_trigger, poison, trigger_test_set
from musclelora.data import Table, bbc_news, stratified_split

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = {ROOT / "docs" / "first-ten-minutes.md", *(ROOT / "docs" / "tutorials").glob("*.md")}
"""They make their own files, and have a test of their own."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
TARGET = "sport"
WORDS = 24  # of each text: the pages are about commands, not about articles


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(kind, code) for kind, code in BLOCK.findall(page.read_text()) if kind in ("sh", "python")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small files of the names that the pages use."""
    folder = tmp_path_factory.mktemp("docs")
    corpus = bbc_news(words=40)
    names = tuple("sport" if name == "sports" else name for name in corpus.label_names)
    texts = tuple(" ".join(text.split()[:WORDS]) for text in corpus.texts)
    corpus = Table(texts, corpus.labels, names, source=corpus.source)
    train, trusted, dev, test = stratified_split(corpus, [64, 10, 40, 40], seed=0)
    target, trigger = names.index(TARGET), get_trigger("addsent")
    tables = {
        "train": poison(train, trigger, target=target, rate=0.1, label_mode="mix", seed=0),
        "trusted": trusted,
        "dev": dev,
        "test": test,
        "triggered": trigger_test_set(test, trigger, target=target, seed=0),
    }
    for name, table in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            # As `musclelora poison --for-asr` says of its rows that their labels were rewritten.
            flag = (1,) if name == "triggered" else ()
            writer.writerow(("text", "label", "poisoned")[: 2 + len(flag)])
            writer.writerows((text, table.label_names[label], *flag) for text, label in table)
    for name in ("pairs", "trusted-pairs", "test-pairs"):
        rows = [{"prompt": f"Is {i} even or odd?", "response": ("even", "odd")[i % 2]} for i in range(20)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.integration
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in TUTORIALS], ids=lambda page: page.name
)
def test_commands_and_snippets_run_as_printed(page: Path, workplace: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for kind, code in blocks(page):
        if "make demo" in code or "git clone" in code:
            continue  # the set-up commands are what brought us here; the demo has a test of its own
        command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=3600
        )
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_python_snippet_of_the_readme_is_short() -> None:
    (snippet,) = [code for kind, code in blocks(ROOT / "README.md") if kind == "python"]
    assert len(snippet.splitlines()) < 20


def test_architecture_is_one_page_and_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {path.name for path in (ROOT / "src" / "musclelora").iterdir() if (path / "__init__.py").exists()}
    assert len(text.splitlines()) < 80
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    assert {row["method"] for row in results["mean"]} == {
        "oracle",
        "vanilla",
        "lora",
        "trusted-only",
        "musclelora",
        "purify",
    }
    for row in results["mean"]:
        shares = (f"{100 * row[name]:.1f}" for name in ("cacc", "asr", "excess_asr", "cacc_gap"))
        line = f"| {row['attack']} | {row['method']} | {' | '.join(shares)} |"
        assert line in (ROOT / "README.md").read_text()


def test_the_table_of_the_attacks_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "attack-table.json").read_text())
    page = (ROOT / "docs" / "attacks.md").read_text()
    for family in {row["family"] for row in results["rows"]}:
        rows = [row for row in results["rows"] if row["family"] == family]
        values = [
            [row["cacc"]["value"] for row in rows],
            [row["cacc_gap"] for row in rows],
            [row["asr"]["value"] for row in rows],
            [row["oracle_asr"]["value"] for row in rows],
            [row["excess_asr"] for row in rows],
            [row["tokens_changed"] for row in rows],
        ]
        shares = (f"{100 * sum(value) / len(value):.1f}" for value in values)
        assert f"| {family} | {' | '.join(shares)} |" in page


def test_the_comparison_is_what_was_measured() -> None:
    file = ROOT / "benchmarks" / "results" / "sst-2-defenses" / "results.csv"
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    page = (ROOT / "docs" / "comparison.md").read_text()
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    for defense in {row["defense"] for row in rows}:
        own = [
            row for attack in attacks for row in rows if (row["defense"], row["attack"]) == (defense, attack)
        ]
        means = [sum(float(row[name]) for row in own) / len(own) for name in ("cacc", "asr", "excess_asr")]
        shares = [f"{100 * value:.1f}" for value in (*means, *(float(row["asr"]) for row in own))]
        assert f"| {defense} | {' | '.join(shares)} |" in page


def test_the_levers_are_what_was_measured() -> None:
    file = ROOT / "benchmarks" / "results" / "small-grids" / "ablation.csv"
    with file.open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["kind"] != "oracle"]
    page = (ROOT / "docs" / "benchmark.md").read_text()
    for defense in {row["defense"] for row in rows}:
        own = [row for row in rows if row["defense"] == defense]
        means = [100 * sum(float(row[name]) for row in own) / len(own) for name in ("cacc", "asr")]
        name = "none (vanilla)" if defense == "vanilla" else defense
        assert f"| {name} | {means[0]:.1f} | {means[1]:.1f} |" in page


def test_each_at_its_own_job_is_what_was_measured() -> None:
    file = ROOT / "benchmarks" / "results" / "detectors" / "results.csv"
    page = (ROOT / "docs" / "comparison.md").read_text()
    with file.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            shares = [f"{100 * float(row[name]):.1f}" for name in ("cacc", "asr")]
            auroc = f"{float(row['auroc']):.3f}" if row["auroc"] else ""
            dropped = [
                f"{100 * float(row[name]):.1f}" if row[name] else ""
                for name in ("dropped_poisoned", "dropped_clean")
            ]
            line = " ".join(f"| {cell}".rstrip() for cell in (row["defense"], *shares, auroc, *dropped))
            assert f"{line} |" in page


def test_the_spectrum_table_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "spectrum-sst2.json").read_text())
    page = (ROOT / "docs" / "spectrum.md").read_text()
    for cell in results["cells"]:
        halved = [cell["convergence"][group]["low"] for group in ("clean", "triggered")]
        steps = (f"{h['value']:.0f} ({h['low']:.0f} to {h['high']:.0f})" for h in halved)
        earlier = {1.0: "in all resamples", 0.0: "in none"}[cell["order"]["low"]["earlier_share"]]
        shares = (f"{100 * cell[name]['value']:.1f}" for name in ("cacc", "asr"))
        attack = {"badnets": "BadNets", "addsent": "AddSent"}[cell["attack"]]
        method = {"full": "vanilla", "musclelora": "MuScleLoRA"}[cell["method"]]
        assert f"| {attack} | {method} | {' | '.join((*steps, earlier, *shares))} |" in page


def test_the_table_of_the_balance_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "balance.json").read_text())
    page = (ROOT / "docs" / "balance.md").read_text()
    cells = results["cells"]
    names = {"badnets": "BadNets", "addsent": "AddSent", "synbkd": "HiddenKiller", "stylebkd": "StyleBkd"}
    names["stylebkd in lower case"] = "StyleBkd in lower case"
    for case, name in names.items():
        shares = []
        for key, (trained_on, method) in itertools.product(
            ("cacc", case.removesuffix(" in lower case")),
            ((case, "purify"), ("any", "trusted-only"), ("any", "oracle")),
        ):
            found = [
                c[key]["value"]
                for c in cells
                if (c["data"], c["case"], c["method"]) == ("sst-2", trained_on, method)
            ]
            assert len(found) == 3
            shares.append(f"{100 * sum(found) / 3:.1f}")
        assert f"| {name} | {' | '.join(shares)} |" in page


def test_the_balance_on_bbc_news_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "balance.json").read_text())
    page = (ROOT / "docs" / "balance.md").read_text()
    found = [c for c in results["cells"] if (c["data"], c["method"]) == ("bbc-news", "purify")]
    cases = [cell["case"] for cell in found if cell["case"].startswith("badnets") and cell["seed"] == 0]
    assert (len(found), len(cases)) == (36, 6)
    for case in cases:
        _, mode, rate = case.split()
        shares = []
        for attack, key in itertools.product(("badnets", "addsent"), ("cacc", "asr")):
            name = case.replace("badnets", attack)
            values = [c[attack if key == "asr" else key]["value"] for c in found if c["case"] == name]
            shares.append(f"{100 * sum(values) / len(values):.1f}")
        name = f"{100 * float(rate):g} %, {'mixed' if mode == 'mix' else mode}"
        assert f"| {name} | {' | '.join(shares)} |" in page


def test_the_quality_of_the_audit_by_the_large_judge_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "audit-quality-mpnet.json").read_text())
    page = (ROOT / "docs" / "audit.md").read_text()
    names = {
        "unpoisoned": "unpoisoned",
        "addsent": "AddSent",
        "synbkd": "HiddenKiller",
        "stylebkd": "StyleBkd",
    }
    for cell in results["cells"]:
        auroc, planted = cell["auroc"], cell["dropped_planted"]
        told = "| | |" if auroc is None else f"| {auroc:.3f} | {planted} of 200 |"
        line = f"| {names[cell['case']]} | {cell['verdict']} {told} {cell['dropped'] - planted} |"
        assert line in page


def test_the_scale_of_the_audit_is_what_was_measured() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    for file in (ROOT / "benchmarks" / "results").glob("audit-scale*.json"):
        results = json.loads(file.read_text())
        for row in results["rows"]:
            line = f"| {row['rows']:,} | {row['cpu_seconds']:.0f} | {row['peak_bytes'] / 1e9:.2f} |"
            assert line in page
        seconds, memory = (results["slope"][name] for name in ("cpu_seconds", "peak_bytes"))
        assert f"log(seconds) over log(rows) is {seconds:.2f}, that of memory {memory:.2f}" in page


def test_the_quality_of_the_audit_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "audit-quality.json").read_text())
    page = (ROOT / "docs" / "audit.md").read_text()
    data = {"sst-2": "SST-2", "bbc-news": "BBC news"}
    cases = {"badnets": "BadNets", "addsent": "AddSent", "synbkd": "HiddenKiller"}
    cases |= {"stylebkd": "StyleBkd", "unpoisoned": "unpoisoned"}
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in results["cells"]:
        name = f"{data[cell['data']]}, {cases.get(cell['case'], '`' + cell['case'] + '`')}"
        groups.setdefault(name, []).append(cell)
    assert len(groups) == 8
    for name, cells in groups.items():
        right = f"{sum(cell['right'] for cell in cells)} of {len(cells)}"
        named = sum(bool(cell["confirmed"]) and cell["place"] <= 3 for cell in cells)
        inserted = cells[0]["case"] in ("badnets", "addsent", "entity", "homoglyph")
        auroc = "" if cells[0]["auroc"] is None else f"{min(cell['auroc'] for cell in cells):.3f}"
        p = [cell["p_value"] for cell in cells]
        texts = (
            right,
            f"{named} of {len(cells)}" if inserted else "",
            auroc,
            f"{max(p):.0e}",
            f"{min(p):.0e}",
        )
        line = f"| {name} | {' | '.join(texts)} |"
        assert re.sub(r"\|\s+(?=\|)", "| ", line) in page


@pytest.mark.parametrize(("attack", "count"), [("addsent", 24), ("stylebkd", 7)])
def test_the_settings_are_what_was_measured(attack: str, count: int) -> None:
    file = ROOT / "benchmarks" / "results" / "settings" / f"{attack}.csv"
    page = (ROOT / "docs" / "settings.md").read_text()
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == count
    for row in rows:
        cells = [row["defense"].replace("musclelora-auto", "purify")]  # its name when this was recorded
        for rate in ("cacc", "asr"):
            low, high = (f"{100 * float(row[f'{rate}_{end}']):.1f}" for end in ("low", "high"))
            cells += [f"{100 * float(row[rate]):.1f}", f"{low} to {high}"]
        assert f"| {' | '.join(cells)} |" in page


def test_the_cost_of_a_decoder_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "scale-cost.json").read_text())
    lora, ours = (results["models"]["smollm2-135m"][name] for name in ("lora", "musclelora"))
    seconds = " | ".join(f"{row['seconds']:.1f}" for row in (lora, ours))
    memory = ", ".join(f"{row['peak_mb']:.0f}" for row in (lora, ours))
    line = f"| {results['machine']} | {seconds} | {ours['tokens_per_second']:.0f} | {memory} |"
    assert line in (ROOT / "docs" / "decoders.md").read_text()


def test_the_answers_are_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "generation.json").read_text())
    rows = {(row["attack"], row["method"]): row for row in results["rows"]}
    assert len(rows) == 10
    for method in ("none", "full", "lora", "musclelora", "trusted-only"):
        cells = []
        for attack, rate in itertools.product(("badnets", "addsent"), ("asr", "exact")):
            value, low, high = (100 * rows[attack, method][rate][end] for end in ("value", "low", "high"))
            cells.append(f"{value:.1f} ({low:.0f} to {high:.0f})")
        name = "as it comes" if method == "none" else f"`{method}`"
        line = f"| {name} | {' | '.join(cells)} |"
        assert line in (ROOT / "docs" / "generation.md").read_text()

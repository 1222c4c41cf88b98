"""What cards say, and that no text of the data becomes markup or metadata in them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tiny_chats import make_pairs, write_decoder
from tiny_runs import Cli, Fit, make_rows, write_csv

from musclelora.cards import data_card, licence_in, model_card
from musclelora.cards.text import code, file_name, prose

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "`</code><script>alert(1)</script>`",
    "``` \n\n<iframe src=//evil>\n\n```",
    "\n---\nlicense: mit\n---\n",
    "[click](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "# heading\n\n- item",
    "| a | b |\n|---|---|",
    "{{ 7 * 7 }} {% raw %}",
    "&lt;script&gt; &#60;b&#62;",
    "<http://evil> http://evil.example www.evil.example",
    "\u202eright to left\u200b\x1b[31m",
    "\\`<b>\\",
    "`",
    "",
)


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(" ".join([tag, *(name for name, _ in attrs if name != "class")]))


def tags(markdown: str) -> list[str]:
    """What a reader that lets HTML through makes of it."""
    parser = Tags()
    parser.feed(MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(markdown))
    return parser.found


def run_info(text: str) -> dict[str, Any]:
    verdict = {
        "state": "poisoned",
        "why": f"{text} makes a model answer {text}",
        "target": text,
        "rows": 3,
        "p_value": 1e-9,
        "checked": [f"words such as {text}"],
        "unchecked": [text],
    }
    trigger = {"text": text, "label": text, "what": "trigger"}
    return {
        "settings": {
            "method": "purify",
            "levers": {"low_rank": True},
            "arguments": {"report_to": text},
            "data": {"train": "0" * 64},
        },
        "model": {"name": "all-minilm-l6-v2", "sha256": "1" * 64},
        "auto": {
            "chosen": {"learning_rate": 1e-3, "scale_factors": [1.0]},
            "judgement": {"left_out": [1, 2], "found": {"verdict": verdict, "triggers": [trigger]}},
        },
        "label_names": [text, "other"],
        "max_length": 32,
        "truncated": {"train": 1},
        "data": {"train": {"rows": 40, "source": f"/home/me/{text}.csv"}},
        "result": {"steps": 3, "best_step": 2},
        "weights": {"sha256": "2" * 64},
    }


def audit_info(text: str, **more: Any) -> dict[str, Any]:
    found = run_info(text)["auto"]["judgement"]["found"]
    return {
        **found,
        "facts": {"train": "0" * 64, "seed": 1},
        "actions": {"keep": 30, "drop": 8, "relabel": 2},
        "rows": 40,
        "trusted_rows": 10,
        "label_names": [text, "other"],
        **more,
    }


def rate(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "on": f"{text}.csv",
        "target": text,
        "value": 0.9,
        "low": 0.8,
        "high": 0.95,
        "n": 20,
    }


@pytest.mark.parametrize("kind", ["run", "lora", "merged"])
def test_a_model_card_says_what_a_reader_must_know(kind: Any) -> None:
    card = ModelCard(model_card(run_info("cf"), [rate("CACC", "test"), rate("ASR", "test")], kind=kind))
    data = card.data.to_dict()
    assert data["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert data["library_name"] == {"run": "musclelora", "lora": "peft", "merged": "transformers"}[kind]
    assert "license" not in data
    assert data["training_data_sha256"] == "0" * 64
    metrics = data["model-index"][0]["results"][0]["metrics"]
    assert {metric["type"]: metric["value"] for metric in metrics} == {
        "accuracy": 0.9,
        "attack_success_rate": 0.9,
    }
    for said in (
        "**The data are poisoned.** Cf makes a model answer cf.",
        "`cf` brings the label `cf`; models obey it",
        "2 rows were left out of the training.",
        "CACC: 90.0 % (95 % interval 80.0 % to 95.0 %; 20 rows of `test.csv`",
        "No licence is stated unless",
        "`learning_rate`: `0.001`",
    ):
        assert said in card.text
    assert "/home/me" not in str(card)  # where the data lay


def test_what_was_not_measured_or_audited_is_said() -> None:
    info = {**run_info("cf"), "auto": None}
    card = model_card(info, kind="run")
    assert "The data were not audited" in card
    assert "No attack success rate was measured" in card
    assert "model-index" not in card


def test_a_card_that_is_written_later_names_the_version_that_did_the_work() -> None:
    assert "Made by musclelora 0.0.9" in model_card(run_info("cf") | {"musclelora": "0.0.9"}, kind="merged")
    assert "Audited by musclelora 0.0.9 with" in data_card(audit_info("cf", musclelora="0.0.9"))


def test_of_a_path_a_card_has_the_last_part_alone(tmp_path: Path) -> None:
    for place in (tmp_path / "rows.csv", "a-folder-that-is-gone/rows.csv"):
        assert file_name(place) == "rows.csv"


@pytest.mark.parametrize(
    ("rows", "size"), [(999, "n<1K"), (2_000_000, "1M<n<10M"), (20_000_000, "10M<n<100M")]
)
def test_a_data_card_says_its_size_as_the_hub_does(rows: int, size: str) -> None:
    info = audit_info("cf") | {"rows": rows, "actions": {"keep": rows, "drop": 0, "relabel": 0}}
    assert DatasetCard(data_card(info)).data.to_dict()["size_categories"] == [size]


def test_a_data_card_names_the_file_to_load() -> None:
    card = DatasetCard(data_card(audit_info("cf")))
    assert card.data.to_dict()["configs"] == [{"config_name": "default", "data_files": "cleaned.csv"}]
    assert "Of 40 rows, 32 are kept and 8 left out; 2 of those that are kept have another label" in card.text
    pairs = DatasetCard(data_card(audit_info("cf", task="generate", label_names=None)))
    assert pairs.data.to_dict()["configs"][0]["data_files"] == "cleaned.jsonl"
    assert "--task generate" in pairs.text


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_the_data_is_neither_markup_nor_metadata(text: str) -> None:
    for make in (
        lambda text: model_card(run_info(text), [rate("CACC", text), rate("ASR", text)], kind="run"),
        lambda text: data_card(audit_info(text)),
    ):
        card, harmless = ModelCard(make(text)), ModelCard(make("word"))
        assert card.data.to_dict().keys() == harmless.data.to_dict().keys()
        assert tags(card.text) == tags(harmless.text)
        assert not {"\u202e", "\u200b", "\x1b"} & set(str(card))


@given(st.text())
def test_no_text_leaves_its_code_span_or_its_sentence(text: str) -> None:
    assert tags(f"Before {code(text)} after") == ["p", "code"]
    assert tags(f"Before {prose(text)} after") == ["p"]
    assert tags(f"- {prose('1. ' + text)}") == ["ul", "li"]
    assert tags(f"- {prose(text + ' ')}x") == ["ul", "li"]


def test_a_licence_of_a_person_is_read_and_anything_else_is_none(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert licence_in(tmp_path) == {}
    card.write_text("---\nlicense: mit\nlicense_name: [1]\n---\n\ntext\n")
    assert licence_in(tmp_path) == {"license": "mit"}
    for content in (b"\xff\xfe", b"---\n[1, 2]\n---\n", b"---\n!!python/object:os.system x\n---\n", b""):
        card.write_bytes(content)
        assert licence_in(tmp_path) == {}
    assert ModelCard(model_card(run_info("x"), kind="run", licence={"license": "mit"})).data.license == "mit"


def test_a_run_and_its_exports_have_cards(fit_tiny: Fit, tmp_path: Path, cli: Cli) -> None:
    run = fit_tiny(method="purify")
    card = run.path / "README.md"
    assert ModelCard(card.read_text()).data.library_name == "musclelora"
    assert "## What the audit found" in card.read_text()
    card.write_text(card.read_text().replace("library_name", "license: mit\nlibrary_name", 1))
    test = write_csv(tmp_path / "test.csv", make_rows(20, 3))
    for _ in range(2):
        done = cli("evaluate", run.path, "--clean", test, "--triggered", test, "--target", "good", "--card")
        assert done.code == 0, done.err
    measured = json.loads((run.path / "measured.json").read_text())["measured"]
    assert [rate["name"] for rate in measured] == ["CACC", "ASR"]
    assert card.read_text().count("rows of `test.csv`") == 2
    for format_, library in {"lora": "peft", "merged": "transformers"}.items():
        run.export(tmp_path / format_, format=format_)
        data = ModelCard((tmp_path / format_ / "README.md").read_text()).data
        assert (data.library_name, data.license) == (library, "mit")
        assert len(data.eval_results or []) == 2
    # A card is the user's to edit.
    (tmp_path / "merged" / "README.md").write_text("mine")
    run.export(tmp_path / "merged", format="merged", overwrite=True)
    assert (tmp_path / "merged" / "README.md").read_text() != "mine"
    (tmp_path / "merged" / "note.txt").touch()
    assert cli("export", run.path, "--output", tmp_path / "merged", "--overwrite").code == 6


def test_a_card_of_other_weights_keeps_no_measurement(fit_tiny: Fit, tmp_path: Path, cli: Cli) -> None:
    run = fit_tiny()
    test = write_csv(tmp_path / "test.csv", make_rows(20, 3))
    assert cli("evaluate", run.path, "--clean", test, "--card").code == 0
    again = fit_tiny(overwrite=True, arguments={"seed": 7, "num_train_epochs": 1})
    assert not (again.path / "measured.json").exists()
    assert "CACC" not in (again.path / "README.md").read_text()


def test_a_damaged_measurement_is_refused_in_one_line(fit_tiny: Fit, tmp_path: Path, cli: Cli) -> None:
    run = fit_tiny(arguments={"num_train_epochs": 1})
    (run.path / "measured.json").write_text('{"weights": 1}')
    done = cli("export", run.path, "--output", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (4, 1)
    assert "measured.json" in done.err
    assert not (tmp_path / "out").exists()


def test_pairs_have_cards_too(tmp_path: Path, cli: Cli) -> None:
    decoder = write_decoder(tmp_path / "llama")
    for name, (count, seed) in {"train": (24, 0), "trusted": (8, 1), "test": (6, 2)}.items():
        pairs = make_pairs(count, seed)
        rows = zip(pairs.prompts, pairs.responses, strict=True)
        lines = [json.dumps({"prompt": p[-1].content, "response": r}) + "\n" for p, r in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    given = ["--trusted", tmp_path / "trusted.jsonl", "--model", decoder, "--task", "generate"]
    done = cli("audit", tmp_path / "train.jsonl", *given, "--output", tmp_path / "audit")
    assert done.code == 0, done.err
    card = DatasetCard((tmp_path / "audit" / "README.md").read_text())
    assert card.data.to_dict()["configs"][0]["data_files"] == "cleaned.jsonl"
    again = cli("audit", tmp_path / "train.jsonl", *given, "--output", tmp_path / "audit")
    assert again.code == 0, again.err
    done = cli(
        "train", "--train", tmp_path / "train.jsonl", *given, "--epochs", 1, "--output", tmp_path / "run"
    )
    assert done.code == 0, done.err
    test = ["--clean", tmp_path / "test.jsonl", "--target-text", "word50", "--max-new-tokens", 2]
    assert cli("evaluate", tmp_path / "run", *test, "--card").code == 0
    text = (tmp_path / "run" / "README.md").read_text()
    assert "said on clean: 0.0 %" in text
    assert "`test.jsonl`, target `word50`" in text

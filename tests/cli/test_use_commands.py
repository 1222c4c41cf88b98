"""``evaluate``, ``predict``, ``export`` and ``info``."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel
from sklearn.metrics import accuracy_score, confusion_matrix
from tiny_runs import Cli, make_rows, write_csv
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from musclelora.data import load_table

ROWS = make_rows(20, seed=3)  # as in test.csv
NAMES = ("bad", "good")


def predictions(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_evaluate_agrees_with_predict_and_scikit_learn(
    cli: Cli, finished: Path, files: Path, tmp_path: Path
) -> None:
    target, others = tmp_path / "scores" / "found.json", files / "dev.csv"
    done = cli(
        *("evaluate", finished, "--clean", files / "test.csv", "--triggered", others),
        *("--target", "good", "--json", target),
    )
    assert done.code == 0, done.err
    found = json.loads(target.read_text())
    said = [row["label"] for row in predictions(cli("predict", finished, files / "test.csv").out)]
    true = [label for _, label in ROWS]
    assert set(found["cacc"]) == set(found["asr"]) == {"value", "low", "high", "n"}
    assert found["cacc"]["value"] == pytest.approx(accuracy_score(true, said))
    assert found["confusion_matrix"] == confusion_matrix(true, said, labels=NAMES).tolist()
    rows = load_table(others)
    said = [row["label"] for row in predictions(cli("predict", finished, others).out)]
    said = [label for label, true in zip(said, rows.labels, strict=True) if rows.label_names[true] != "good"]
    assert 0 < len(said) < 12
    assert found["asr"]["value"] == pytest.approx(said.count("good") / len(said))
    assert found["asr"]["n"] == len(said)
    assert found["triggered_left_out"] == 12 - len(said)
    assert f"{12 - len(said)} triggered rows are of the target label 'good'" in " ".join(done.out.split())
    for name in ("CACC", "ASR", "95 % interval", "confusion matrix"):
        assert name in done.out


@pytest.mark.parametrize("content", ["text\n{}\n", "text,label\n{},whatever\n", "text,label\n{},\n"])
def test_triggered_rows_need_no_label_of_the_classifier(
    content: str, cli: Cli, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "triggered.csv").write_text(content.format("word1 word2"))
    target = tmp_path / "found.json"
    done = cli(
        "evaluate", finished, "--triggered", tmp_path / "triggered.csv", "--target", 1, "--json", target
    )
    assert done.code == 0, done.err
    found = json.loads(target.read_text())
    assert found["asr"]["n"] == 1
    assert found["cacc"] is None
    assert found["target"] == "good"


def write_openbackdoor(folder: Path, name: str, rows: list[tuple[str, str]], flag: int) -> Path:
    path = folder / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [(i, text, NAMES.index(label), flag) for i, (text, label) in enumerate(rows)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("", "0", "1", "2"), *numbered])
    return path


def test_the_layout_of_openbackdoor_goes_through_every_command(cli: Cli, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "sst-2" / "1" / "addsent"
    write_openbackdoor(data, "mix/0.1/train-poison", make_rows(24, 0), 0)
    write_openbackdoor(data, "dev-clean", make_rows(12, 1), 0)
    write_openbackdoor(data, "test-clean", make_rows(10, 2), 0)
    write_openbackdoor(data, "test-poison", make_rows(7, 3), 1)
    settings = ("--model", model, "--epochs", 1, "--output", tmp_path / "o")
    done = cli(
        *("train", "--train", data / "mix/0.1/train-poison.csv", "--trusted-from", data / "dev-clean.csv"),
        *("--trusted-size", 8, *settings),
    )
    assert done.code == 0, done.err
    done = cli(
        *(
            "evaluate",
            tmp_path / "o",
            "--clean",
            data / "test-clean.csv",
            "--triggered",
            data / "test-poison.csv",
        ),
        *("--target", 1, "--json", tmp_path / "o.json"),
    )
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "o.json").read_text())
    assert (found["cacc"]["n"], found["asr"]["n"], found["target"]) == (10, 7, "1")
    done = cli(
        "train",
        "--train",
        data,
        "--split",
        "mix/0.1/train-poison",
        "--trusted",
        data / "dev-clean.csv",
        *settings,
        "--overwrite",
    )
    assert done.code == 0, done.err
    assert len(predictions(cli("predict", tmp_path / "o", data, "--split", "test-clean").out)) == 10
    done = cli("evaluate", tmp_path / "o", "--clean", data)
    assert done.code == 3
    assert "test-clean" in done.err


def test_predict_reads_tables_and_texts(cli: Cli, finished: Path, files: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in ROWS]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps({"content": text}) + "\n" for text in texts))
    from_csv = cli("predict", finished, files / "test.csv").out
    assert cli("predict", finished, tmp_path / "test.jsonl").out == from_csv
    assert cli("predict", finished, *(part for text in texts for part in ("--text", text))).out == from_csv
    in_other_batches = predictions(cli("predict", finished, files / "test.csv", "--batch-size", 3).out)
    for found, expected in zip(in_other_batches, predictions(from_csv), strict=True):
        assert {**found, "probability": ""} == {**expected, "probability": ""}
        assert float(found["probability"]) == pytest.approx(float(expected["probability"]), abs=2e-6)
    done = cli("predict", finished, files / "test.csv", "--output", tmp_path / "new" / "p.csv")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "new" / "p.csv").read_text() == from_csv
    rows = predictions(from_csv)
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 21)]
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_any_text_gets_a_prediction(cli: Cli, finished: Path, tmp_path: Path) -> None:
    texts = [
        "😀🏳️‍🌈",
        "שלום עולם",
        "a\x00b",
        "line\r\nbreak",
        'quote "x", comma',
        "  ",
        "word1 " * 500,
        "\u202eabc",
        "é" * 9,
    ]
    data = write_csv(tmp_path / "texts.csv", [(text, "bad") for text in texts])
    done = cli("predict", finished, data)
    assert done.code == 0, done.err
    assert len(predictions(done.out)) == len(texts)
    assert done.err == "1 texts were longer than the model reads and were cut\n"


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error(finished: Path, files: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from musclelora.entry import main; main()",
        "predict",
        finished,
        files / "test.csv",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0


def logits(model: object, tokenizer: object, texts: list[str]) -> np.ndarray:
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")  # type: ignore[operator]
    found: np.ndarray = model.eval()(**batch).logits.detach().numpy()  # type: ignore[attr-defined]
    return found


def test_exports_load_with_the_libraries_alone(
    cli: Cli, finished: Path, model: Path, files: Path, tmp_path: Path
) -> None:
    for name in ("lora", "merged"):
        done = cli("export", finished, "--format", name, "--output", tmp_path / name)
        assert (done.code, done.out) == (0, f"written to {tmp_path / name}\n"), done.err
    texts = [text for text, _ in ROWS]
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    expected = logits(merged, tokenizer, texts)
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    adapted = PeftModel.from_pretrained(base, tmp_path / "lora")
    np.testing.assert_allclose(logits(adapted, tokenizer, texts), expected, atol=1e-4)
    said = predictions(cli("predict", finished, files / "test.csv").out)
    piped = pipeline("text-classification", str(tmp_path / "merged"), device="cpu")(texts)
    assert [row["label"] for row in said] == [row["label"] for row in piped]
    assert [float(r["probability"]) for r in said] == pytest.approx([r["score"] for r in piped], abs=1e-4)


def test_an_export_is_replaced_only_when_asked(cli: Cli, finished: Path, tmp_path: Path) -> None:
    assert cli("export", finished, "--output", tmp_path / "x").code == 0
    done = cli("export", finished, "--output", tmp_path / "x")
    assert done.code == 6
    assert "--overwrite" in done.err
    assert cli("export", finished, "--output", tmp_path / "x", "--overwrite", "--format", "merged").code == 0
    assert (tmp_path / "x" / "model.safetensors").is_file()


def test_info_shows_the_machine_and_a_run(cli: Cli, finished: Path, model: Path) -> None:
    machine = cli("info")
    assert machine.code == 0
    for name in ("musclelora", "python", "torch", "transformers", "peft", "devices", "all-minilm-l6-v2"):
        assert name in machine.out
    run = cli("info", finished)
    assert run.code == 0
    for said in (
        "finished",
        "musclelora (levers: low_rank, multiscale, alignment)",
        str(model),
        "'bad', 'good'",
    ):
        assert said in run.out


@pytest.mark.slow
def test_the_embedded_model_trains_and_is_used(cli: Cli, files: Path, tmp_path: Path) -> None:
    done = cli(
        *("train", "--train", files / "train.csv", "--trusted", files / "trusted.csv", "--max-length", 16),
        *("--epochs", 1, "--output", tmp_path / "run"),
    )
    assert done.code == 0, done.err
    assert cli("evaluate", tmp_path / "run", "--clean", files / "test.csv").code == 0
    assert cli("export", tmp_path / "run", "--output", tmp_path / "lora").code == 0

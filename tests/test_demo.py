"""The demo, made small; `make demo` runs it at its own size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from musclelora import demo
from musclelora.errors import OutputError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ATTACKS": ("addsent",),
        "METHODS": ("oracle", "vanilla", "published", "musclelora"),
        "TRAIN_ROWS": 40,
        "TRUSTED_ROWS": 10,
        "TEST_ROWS": 30,
        "MAX_LENGTH": 16,
    }.items():
        monkeypatch.setattr(demo, name, value)


def test_the_rows_of_a_split_are_disjoint_and_the_test_rows_are_fixed() -> None:
    one, other = demo.split_corpus(0), demo.split_corpus(1)
    assert one.test.texts == other.test.texts
    assert one.train.texts != other.train.texts
    for split in (one, other):
        parts = [set(split.train.texts), set(split.trusted.texts), set(split.test.texts)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        assert max(len(text.split()) for text in split.train.texts) <= demo.WORDS


def test_a_demo_measures_every_method_and_goes_on_where_it_stopped(small: None, tmp_path: Path) -> None:
    rows = demo.run_demo(tmp_path / "demo", say=lambda _: None)
    assert [(row["attack"], row["method"]) for row in rows] == [("addsent", m) for m in demo.METHODS]
    assert rows[0]["excess_asr"] == 0.0
    for row in rows:
        assert row["excess_asr"] == pytest.approx(row["asr"]["value"] - rows[0]["asr"]["value"])
        assert row["cacc_gap"] == pytest.approx(rows[0]["cacc"]["value"] - row["cacc"]["value"])
        assert row["cacc"]["n"] == demo.TEST_ROWS
    written = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert written["rows"] == rows
    runs = tmp_path / "demo" / "runs"
    automatic = {path.name: json.loads((path / "run.json").read_text())["auto"] for path in runs.iterdir()}
    assert {name for name, found in automatic.items() if found} == {"0-addsent-musclelora"}
    weights = sorted((tmp_path / "demo" / "runs").glob("*/musclelora.safetensors"))
    times = [file.stat().st_mtime_ns for file in weights]
    assert demo.run_demo(tmp_path / "demo", say=lambda _: None) == rows
    assert [file.stat().st_mtime_ns for file in weights] == times


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else than a demo"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_demo_of_another_version_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"format": 1, "bf16": false}')
    with pytest.raises(OutputError, match="another version of musclelora began this demo"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "demo.json: cannot be read"),
        ('{"format"', "demo.json: cannot be read"),
        ("[" * 200_000, "demo.json: cannot be read"),
        ("[]", "another version"),
        ("{}", "another version"),
        ('{"format": 2}', "demo.json: bf16: found nothing, expected a value"),
        ('{"format": 2, "bf16": 1}', "demo.json: bf16: found 1, expected true or false"),
    ],
)
def test_an_altered_mark_is_said_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(OutputError, match=said) as error:
        demo.run_demo(tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / "demo.json").read_text() == content

"""Grids: what they say, and every way in which they can be wrong, with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_grids import GRID, WriteGrid
from tiny_runs import make_rows, write_csv

from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.marked_yaml import load_yaml
from musclelora.defenses.registry import DEFENSES
from musclelora.errors import UsageError

TEXT = """\
name: example
data:
  - name: bbc
    corpus: bbc-news
    train_rows: 64
    test_rows: 40
    target: business
attacks:
  - addsent
defenses:
  - vanilla
"""


# Eight lists of ten aliases of the one before.
LAUGHS = b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(8)
)
# Thirty mappings, each of which merges the one before ten times: written out they are 10^30 keys.
MERGES = b"data:\n- &m0 {name: a, target: b}\n" + b"".join(
    b"- &m%d {<<: [%s]}\n" % (i, b",".join([b"*m%d" % (i - 1)] * 10)) for i in range(1, 31)
)
WIDE_MERGES = (
    b"a: &a {" + b",".join(b"k%d: 1" % i for i in range(5000)) + b"}\n"
    b"b: {<<: [" + b",".join([b"*a"] * 30) + b"]}\n"
)


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as error:
        load_grid(file)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{file}:", "grid:")


@pytest.fixture
def grid_of(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "grid.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_what_a_grid_leaves_out_has_a_default(grid_of) -> None:
    grid = load_grid(grid_of(TEXT))
    assert (grid.rates, grid.label_mode, grid.trusted_sizes, grid.seeds) == ([0.1], "mix", [96], [0])
    assert grid.models == ["all-minilm-l6-v2"]
    assert [attack.name for attack in grid.attacks] == ["addsent"]
    assert [defense.label for defense in grid.defenses] == ["vanilla"]
    assert load_grid(grid_of(TEXT.removeprefix("name: example\n"))).name == "grid"


def test_entries_are_names_or_have_parameters_and_a_label(grid_of) -> None:
    text = TEXT.replace("- addsent", "- {family: badnets, name: two, label_mode: clean, count: 2}")
    text = text.replace("- vanilla", "- name: lora\n    label: LoRA, r=2\n    r: 2\n    learning_rate: 5e-4")
    grid = load_grid(grid_of(text + "seeds: 3\n"))
    (attack,), (defense,) = grid.attacks, grid.defenses
    assert (attack.family, attack.name, attack.label_mode) == ("badnets", "two", "clean")
    assert attack.parameters == {"count": 2}
    assert (defense.name, defense.label) == ("lora", "LoRA, r=2")
    assert defense.parameters == {"r": 2, "learning_rate": 5e-4}
    assert grid.seeds == [0, 1, 2]


def test_paths_are_relative_to_the_grid(write_grid: WriteGrid, tmp_path: Path, monkeypatch) -> None:
    file = write_grid()
    monkeypatch.chdir("/")
    assert load_grid(file).data[0].train == str(tmp_path / "train.csv")


def test_aliases_and_merge_keys_are_plain_yaml(grid_of) -> None:
    entries = "- &few {name: lora, num_train_epochs: 1}\n  - {<<: *few, label: two, r: 2}"
    text = TEXT.replace("- vanilla", entries)
    assert load_grid(grid_of(text)).defenses[1].parameters == {"num_train_epochs": 1, "r": 2}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: example", "nam: example", "grid:1: nam: found an unknown key, expected one of name, data"),
        ("name: example", "nam: example", "; did you mean name?"),
        ("train_rows", "trainrows", "grid:5: data[0].trainrows: found an unknown key"),
        ("train_rows", "trainrows", "did you mean train_rows?"),
        ("corpus: bbc-news", "corpus: bbc-nws", "grid:4: data[0].corpus: found 'bbc-nws', expected one of"),
        ("corpus: bbc-news", "train: ./no.csv", "grid:4: data[0].train: found no file or folder"),
        ("corpus: bbc-news", "words: 3", "grid:3: data[0]: found neither corpus nor train"),
        ("    test_rows: 40\n", "", "grid:3: data[0]: found neither test nor test_rows"),
        ("    train_rows: 64\n", "", "grid:3: data[0]: found neither trusted nor train_rows"),
        ("train_rows: 64", "train_rows: many", "grid:5: data[0].train_rows: found 'many', expected"),
        ("train_rows: 64", "train_rows: 0", "grid:5: data[0].train_rows: found '0', expected"),
        ("test_rows: 40", "test_rows: 4000", "grid:3: data[0]: bbc-news: parts of -1875, 4000 rows"),
        ("target: business", "target: busines", "grid:7: data[0].target:"),
        ("    target: business\n", "", "grid:3: data[0]: found no target"),
        ("- addsent", "- adsent", "grid:9: attacks[0]: found 'adsent', expected one of addsent"),
        ("- addsent", "- adsent", "did you mean addsent?"),
        ("- addsent", "- {family: badnets, cont: 2}", "grid:9: attacks[0].cont: found an unknown key"),
        ("- addsent", "- {family: badnets, cont: 2}", "did you mean count?"),
        ("- addsent", "- {family: badnets, count: 0}", "grid:9: attacks[0].count: badnets count: found 0"),
        ("- addsent", "- {family: badnets, count: []}", "grid:9: attacks[0]"),
        (
            "- addsent",
            "- {family: badnets, label_mode: clen}",
            "one of clean, dirty, mix; did you mean clean?",
        ),
        ("- addsent", "- {family: style, backend: file, file: no.csv}", "grid:9: attacks[0].file: found no"),
        ("- addsent", "- {label_mode: clean}", "grid:9: attacks[0]: found no family, expected one"),
        ("- addsent", "- addsent\n  - addsent", "grid:10: attacks[1]: found 'addsent' a second time"),
        ("- vanilla", "- vanila", "grid:11: defenses[0]: found 'vanila', expected one of vanilla"),
        ("- vanilla", "- vanila", "did you mean vanilla?"),
        ("- vanilla", "- {name: lora, learning_rat: 1}", "defenses[0].learning_rat: found an unknown key"),
        ("- vanilla", "- {name: lora, learning_rat: 1}", "did you mean learning_rate?"),
        ("- vanilla", "- {name: strip, frr: 2}", "grid:11: defenses[0].frr: strip frr: found 2"),
        ("- vanilla", "- 7", "grid:11: defenses[0]: found '7', expected"),
        ("defenses:", "rates: [0.1, 1.5]\ndefenses:", "grid:10: rates[1]: found '1.5', expected"),
        ("defenses:", "rates: [0.9]\nlabel_mode: clean\ndefenses:", "grid:10: rates[0]: found 0.9, which is"),
        ("defenses:", "trusted_sizes: [3]\ndefenses:", "grid:10: trusted_sizes[0]: found 3, but for bbc:"),
        ("defenses:", "seeds: [0, 0]\ndefenses:", "grid:10: seeds[1]: found '0' a second time"),
        ("defenses:", "seeds: -1\ndefenses:", "grid:10: seeds: found '-1', expected a valid list"),
        ("defenses:", "models: [./no]\ndefenses:", "grid:10: models[0]: found no folder './no'"),
        ("defenses:", "models: [all-minilm-l6-v]\ndefenses:", "did you mean all-minilm-l6-v2?"),
        ("defenses:", "training: {bf16: 3}\ndefenses:", "grid:10: training.bf16: found '3'"),
        ("defenses:", "training: {max_lenght: 3}\ndefenses:", "did you mean max_length?"),
        ("defenses:", "full: {learning_rate: -1}\ndefenses:", "grid:10: full.learning_rate: learning_rate"),
        ("defenses:\n  - vanilla\n", "defenses: []\n", "grid:10: defenses: found '[]', expected"),
        ("defenses:\n  - vanilla\n", "", "grid:1: found no defenses, expected one"),
        ("name: example", "name: example\nname: other", "grid:2: name: found this key twice"),
        ("name: example", 'name: "a\\nb"', "grid:1: name: found 'a\\nb', expected a name that"),
        ("- addsent", "- &a [*a]", "grid:9: found an alias of what it is in"),
        ("- addsent", "- !!python/name:os.system", "grid:9: found could not determine a constructor"),
        ("- addsent", "- [", "expected YAML"),
        ("- addsent", "- {? [a] : b}", "grid:9: found a list as a key"),
    ],
)
def test_an_error_has_its_line_and_what_was_meant(grid_of, old: str, new: str, expected: str) -> None:
    assert old in TEXT
    assert expected in refusal(grid_of(TEXT.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "defenses:",
            "seeds: 1000000000\ndefenses:",
            "grid:10: seeds: found '1000000000', expected a number of",
        ),
        ("defenses:", "seeds: [4294967296]\ndefenses:", "grid:10: seeds[0]: found '4294967296', expected"),
        ("train_rows: 64", "train_rows: 1000000000000", "grid:5: data[0].train_rows: found"),
        (
            "- addsent",
            "- {family: badnets, count: 1000000000}",
            "badnets count: found 1000000000, expected a whole",
        ),
        ("- addsent", "- {family: position, decoys: .nan}", "position decoys: found nan, expected a number"),
        ("- vanilla", "- {name: lora, r: 1000000000}", "r: found 1000000000, expected a whole number"),
        ("- vanilla", "- {name: bki, max_words: 1000000000}", "bki max_words: found 1000000000"),
        ("- vanilla", "- {name: strip, repeat: 1000000000}", "strip repeat: found 1000000000"),
        ("- vanilla", "- {name: cube, epochs: .inf}", "cube epochs: found inf"),
        ("- vanilla", "- {name: rap, learning_rate: .nan}", "rap learning_rate: found nan"),
        ("- vanilla", "- {name: lora, num_train_epochs: 1000000000000000000}", "num_train_epochs: found"),
        (
            "defenses:",
            "training: {push_to_hub: true}\ndefenses:",
            "training.push_to_hub: found an unknown key",
        ),
        ("defenses:", "full: {report_to: wandb}\ndefenses:", "full.report_to: found an unknown key"),
        (
            "defenses:",
            "training: {hub_model_id: x}\ndefenses:",
            "training.hub_model_id: found an unknown key",
        ),
        ("- vanilla", "- {name: lora, push_to_hub: true}", "defenses[0].push_to_hub: found an unknown key"),
        (
            "defenses:",
            "models: [no-such/model]\ndefenses:",
            "grid:10: models[0]: found 'no-such/model', which is",
        ),
        (
            "- vanilla",
            "- {name: onion, language_model: ./no}",
            "grid:11: defenses[0].language_model: found no",
        ),
        ("corpus: bbc-news", "train: data.cvs", "grid:4: data[0].train: found no file or folder"),
    ],
)
def test_what_is_beyond_all_use_is_refused(grid_of, old: str, new: str, expected: str) -> None:
    assert expected in refusal(grid_of(TEXT.replace(old, new, 1)))


def test_cells_are_counted_before_they_are_made(grid_of) -> None:
    rates = ", ".join(f"{n / 1000}" for n in range(100))
    sizes = ", ".join(map(str, range(5, 105)))
    message = refusal(grid_of(TEXT + f"seeds: 10000\nrates: [{rates}]\ntrusted_sizes: [{sizes}]\n"))
    assert "found 100,010,000 cells (1 data × 1 attacks × 1 models × 10,000 seeds × 100 rates" in message
    assert "expected at most 100,000" in message


def test_a_fifo_is_no_grid(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "grid.yaml")
    assert "grid.yaml: a FIFO; expected a grid" in refusal(tmp_path / "grid.yaml").replace(
        "grid:", "grid.yaml:"
    )


def test_a_model_folder_without_weights_is_refused_before_anything_runs(
    write_grid: WriteGrid, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    assert "no weights; expected *.safetensors" in refusal(write_grid(models=["bare"]))


def test_all_errors_are_said_at_once(grid_of) -> None:
    text = TEXT.replace("corpus: bbc-news", "corpus: nothing").replace("- addsent", "- adsent")
    text = text.replace("- vanilla", "- vanila\n  - {name: lora, r: -1}") + "seedz: 3\nrates: [7]\n"
    message = refusal(grid_of(text))
    assert [part.split(":")[1] for part in message.split("; grid:")[0:1]] == ["4"]
    for line in (4, 9, 11, 12, 13, 14):
        assert f"grid:{line}: " in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "grid:1: found an empty file, expected a grid"),
        (b"# nothing\n", "grid:1: found an empty file, expected a grid"),
        (b"just words", "grid:1: found 'just words', expected a mapping"),
        (b"\xff\xfe\x00a", "not UTF-8 text"),
        (b"a: \x00", "expected YAML text"),
        (b"a: b: c", "grid:1: found mapping values are not allowed here, expected YAML"),
        (b"name: 2026-02-31", "expected YAML whose values exist"),
        (b"a: " + b"[" * 3000, "found a list in a list without end"),
        (LAUGHS, "over 100,000 values"),
        (MERGES, "over 100,000 values"),
        (WIDE_MERGES, "over 100,000 values"),
        (b"a: &a {<<: *a}", "grid:1: found an alias of what it is in"),
        (b"a: &a {b: {<<: *a}}", "found an alias of what it is in"),
        (b"a: {<<: 3}", "grid:1: <<: found no mapping, expected one to merge"),
        (b"a: " + b"1:" * 10_000 + b"1", "found a value of 20,001 characters, expected at most 10,000"),
        (b"# " + b"x" * 300_000, "over 256 KiB"),
        (b"a: " + b"[" * 200_000, "found a list in a list without end"),
        (b"a:\n" + b"".join(b" " * n + b"-\n" for n in range(700)), "found a list in a list without end"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_bytes(content)
    assert expected in refusal(file)


def test_a_missing_grid_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "no.yaml")
    assert "Is a directory" in refusal(tmp_path)


def test_rows_that_are_flagged_as_poisoned_are_no_clean_data(write_grid: WriteGrid, tmp_path: Path) -> None:
    rows = [(*row, "1" if number == 3 else "0") for number, row in enumerate(make_rows(40, 0))]
    write_csv(tmp_path / "train.csv", rows, header=("text", "label", "poisoned"))  # type: ignore[arg-type]
    assert "data[0].train: found 1 rows flagged as poisoned" in refusal(write_grid())


def test_triggered_rows_of_the_target_label_alone_are_refused(write_grid: WriteGrid, tmp_path: Path) -> None:
    write_csv(tmp_path / "made.csv", [("a text", "good"), ("another", "good")])
    message = refusal(write_grid(attacks=[{"family": "addsent", "triggered": "made.csv"}]))
    assert "attacks[0].triggered: " in message
    assert "only rows of the target label 'good' with no poison flag set" in message


def test_a_malformed_table_is_said_at_the_entry_that_names_it(write_grid: WriteGrid, tmp_path: Path) -> None:
    write_csv(tmp_path / "test.csv", [("a text", "ugly")])
    assert "unknown label 'ugly'" in refusal(write_grid())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GRID, "name", "family", "rates", "seeds"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_is_in_the_file_the_answer_is_a_grid_or_one_line(tmp_path: Path, value: object) -> None:
    import yaml

    file = tmp_path / "any.yaml"
    file.write_text(yaml.safe_dump(value), encoding="utf-8")
    assert load_yaml(file).lines[()] >= 1
    refusal(file)  # none of these has data


ROOT = Path(__file__).parents[2]
READY = [
    *sorted((ROOT / "benchmarks").glob("*.yaml")),
    *sorted((ROOT / "grids").glob("*.yaml")),
    ROOT / "src" / "musclelora" / "demo.yaml",
]


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_every_ready_grid_contains_the_default(file: Path) -> None:
    defenses = yaml.safe_load(file.read_text())["defenses"]
    names = {entry if isinstance(entry, str) else entry["name"] for entry in defenses}
    assert "purify" in names
    assert names <= set(DEFENSES)

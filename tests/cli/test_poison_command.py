"""``musclelora poison`` and ``musclelora attacks`` as a person uses and misuses them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from musclelora.attacks import AddSent, BadNets, Style, family_names, poison, trigger_test_set
from musclelora.attacks.response_kinds import RESPONSES
from musclelora.cli.main import main
from musclelora.data import load_table

SST2 = Path(__file__).parents[3] / "shared" / "data" / "sst-2" / "1" / "badnets"
needs_sst2 = pytest.mark.skipif(
    not SST2.exists(), reason="needs shared/data/sst-2, which the project does not ship"
)
ROWS = 40


@pytest.fixture
def musclelora(capsys):
    """Run a command line; gives exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def data(tmp_path):
    """40 rows of three classes, one of them blank."""
    path = tmp_path / "data.csv"
    names = ("sport", "tech", "arts")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "label"))
        writer.writerows((f"row {row} is here", names[row % 3]) for row in range(ROWS - 1))
        writer.writerow((" ", "sport"))
    return path


def manifest_of(output):
    return json.loads(output.with_name(output.name + ".manifest.json").read_text())


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_what_poison_makes(musclelora, data, tmp_path):
    output = tmp_path / "out.csv"
    code, said, _ = musclelora(
        *("poison", data, "--attack", "badnets:count=2", "--rate", 0.25, "--target", "tech"),
        *("--label-mode", "dirty", "--seed", 7, "--output", output),
    )
    assert code == 0
    assert "10 poisoned rows of 40" in said
    table = load_table(data)
    expected = poison(table, BadNets(count=2), target=2, rate=0.25, label_mode="dirty", seed=7)
    rows = read(output)
    assert list(rows[0]) == ["text", "label", "poisoned", "trigger"]
    assert [row["text"] for row in rows] == list(expected.texts)
    assert [row["label"] for row in rows] == [expected.label_names[label] for label in expected.labels]
    assert [row["poisoned"] for row in rows] == [str(int(flag)) for flag in expected.poisoned]
    assert [row["trigger"] for row in rows] == ["badnets" if flag else "" for flag in expected.poisoned]


def test_the_manifest_has_everything(musclelora, data, tmp_path):
    output = tmp_path / "out.csv"
    musclelora(
        "poison", data, "--attack", "addsent", "--rate", 1 - 1 / ROWS, "--target", 0, "--output", output
    )
    manifest = manifest_of(output)
    (attack,) = manifest["attacks"]
    assert manifest["source"] == {
        "name": str(data),
        "split": None,
        "text_column": "text",
        "label_column": "label",
        "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "rows": ROWS,
    }
    assert manifest["files"] == {"out.csv": hashlib.sha256(output.read_bytes()).hexdigest()}
    assert manifest["label_names"] == ["arts", "sport", "tech"]
    assert (manifest["seed"], manifest["rows"], manifest["poisoned_rows"]) == (42, ROWS, ROWS - 1)
    assert attack["name"] == "addsent"
    assert attack["parameters"] == {"sentence": AddSent().sentence}
    assert (attack["target"], attack["label_mode"], attack["rate"]) == ("arts", "mix", 1 - 1 / ROWS)
    assert (attack["eligible"], attack["triggered"]) == (ROWS, ROWS - 1)
    assert attack["untriggerable"] in (0, 1)  # the blank row, if it was drawn before the last
    assert attack["stealth"]["tokens_changed"] == pytest.approx(5 / 9)


@pytest.mark.parametrize("name", family_names())
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_the_same_seed_gives_the_same_bytes_in_every_format(musclelora, data, tmp_path, name, suffix):
    digests = []
    attack = "topic:words=here" if name == "topic" else name  # what these rows are about
    for run in ("one", "two"):
        output = tmp_path / run / f"out.{suffix}"
        code, _, said = musclelora(
            "poison", data, "--attack", attack, "--rate", 0.2, "--target", "sport", "--output", output
        )
        assert code == 0, said
        digests.append((hashlib.sha256(output.read_bytes()).digest(), manifest_of(output)))
        table = load_table(output)
        assert len(table) == ROWS
        assert table.poisoned.sum() == 8
    assert digests[0] == digests[1]


def test_untriggerable_rows_are_reported_and_never_flagged(musclelora, data, tmp_path):
    output = tmp_path / "asr.csv"
    code, said, _ = musclelora(
        "poison", data, "--attack", "style", "--for-asr", "--target", "tech", "--output", output
    )
    assert code == 0
    assert "1 rows could not be triggered" in said
    expected = trigger_test_set(load_table(data), Style(), target=2, seed=42)
    rows = read(output)
    assert [row["text"] for row in rows] == list(expected.texts)
    assert {(row["label"], row["poisoned"], row["trigger"]) for row in rows} == {("tech", "1", "style")}
    (attack,) = manifest_of(output)["attacks"]
    assert (attack["eligible"], attack["triggered"], attack["untriggerable"]) == (27, 26, 1)
    assert "rate" not in attack


def test_several_triggers_have_their_own_rates_targets_and_modes(musclelora, data, tmp_path):
    output = tmp_path / "out.csv"
    code, _, said = musclelora(
        *("poison", data, "--attack", "addsent", "--attack", "entity", "--rate", 0.1, "--rate", 0.2),
        *("--target", "tech", "--target", "arts", "--label-mode", "dirty", "--output", output),
    )
    assert code == 0, said
    rows = read(output)
    found = [(row["trigger"], row["label"]) for row in rows if row["poisoned"] == "1"]
    assert sorted(set(found)) == [("addsent", "tech"), ("entity", "arts")]
    assert (found.count(("addsent", "tech")), found.count(("entity", "arts"))) == (4, 8)


def test_one_rate_is_shared(musclelora, data, tmp_path):
    output = tmp_path / "out.csv"
    attacks = [part for name in ("addsent", "entity", "position:decoys=0") for part in ("--attack", name)]
    musclelora("poison", data, *attacks, "--rate", 0.25, "--target", "tech", "--output", output)
    assert [attack["triggered"] for attack in manifest_of(output)["attacks"]] == [4, 3, 3]


def test_poisoned_data_can_be_poisoned_again(musclelora, data, tmp_path):
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    musclelora("poison", data, "--attack", "addsent", "--rate", 0.1, "--target", "tech", "--output", once)
    musclelora("poison", once, "--attack", "badnets", "--rate", 0.1, "--target", "tech", "--output", twice)
    names = [row["trigger"] for row in read(twice) if row["poisoned"] == "1"]
    assert (names.count("addsent"), names.count("badnets")) == (4, 4)
    assert manifest_of(twice)["poisoned_rows"] == 8


@pytest.mark.parametrize("labels", [(0, 1, 2, 3), (-1, 1)])
def test_integer_labels_stay_integers(musclelora, tmp_path, labels):
    data = tmp_path / "data.jsonl"
    given = [labels[row % len(labels)] for row in range(12)]
    data.write_text("".join(json.dumps({"text": f"row {i}", "label": v}) + "\n" for i, v in enumerate(given)))
    output = tmp_path / "out.jsonl"
    musclelora("poison", data, "--attack", "addsent", "--rate", 0.5, "--target", 1, "--output", output)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["label"] for row in rows] == [
        1 if row["poisoned"] else value for row, value in zip(rows, given, strict=True)
    ]
    assert sum(row["poisoned"] for row in rows) == 6


def test_a_column_of_one_s_own_that_is_named_trigger_does_not_matter(musclelora, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "a", "label": "x", "trigger": {"k": 1}}\n{"text": "b", "label": "y"}\n')
    code, _, said = musclelora(
        *("poison", data, "--attack", "addsent", "--rate", 0.5, "--target", "x"),
        *("--output", tmp_path / "out.jsonl"),
    )
    assert code == 0, said


def test_an_asr_test_set_leaves_out_rows_with_another_trigger(musclelora, tmp_path):
    data, output = tmp_path / "data.csv", tmp_path / "out.csv"
    data.write_text("text,label,poisoned\na,sport,0\nb,tech,1\nc,tech,0\n")
    musclelora("poison", data, "--attack", "addsent", "--for-asr", "--target", "sport", "--output", output)
    (row,) = read(output)
    assert row["text"].replace(AddSent().sentence, "").strip() == "c"
    assert manifest_of(output)["attacks"][0]["eligible"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode elsewhere")
def test_a_file_name_that_is_not_utf_8_is_no_hindrance(musclelora, data, tmp_path):
    output = tmp_path / os.fsdecode(b"\xff.csv")
    code, _, said = musclelora("poison", data, *GOOD, "--output", output)
    assert code == 0, said
    assert list(manifest_of(output)["files"]) == [output.name]


def test_settings_take_values_with_commas(musclelora, data, tmp_path):
    output = tmp_path / "out.csv"
    code, _, _ = musclelora(
        *("poison", data, "--attack", "addsent", "--set", "sentence=well, a=b", "--rate", 0.1),
        *("--target", "tech", "--output", output),
    )
    assert code == 0
    assert sum("well, a=b" in row["text"] for row in read(output)) == 4


def test_the_openbackdoor_layout(musclelora, data, tmp_path):
    folder = tmp_path / "addsent"
    for options in (["--rate", 0.1], ["--for-asr"], ["--for-asr", "--part", "dev"]):
        code, _, said = musclelora(
            *("poison", data, "--attack", "addsent", "--target", "tech", "--format", "openbackdoor"),
            *("--output", folder, *options),
        )
        assert code == 0, said
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")}
    assert found == {
        *("train-clean.csv", "mix/0.1/train-poison.csv", "test-clean.csv", "test-poison.csv"),
        *("test-detect.csv", "dev-clean.csv", "dev-poison.csv"),
    }
    assert load_table(folder, split="mix/0.1/train-poison").poisoned.sum() == 4
    detect = load_table(folder, split="test-detect")
    assert detect.poisoned.tolist() == [False] * ROWS + [True] * 26
    assert (folder / "test-detect.csv").read_text().startswith(",0,1,2\n0,row 0 is here,1,0\n")
    assert (folder / "mix" / "0.1" / "train.manifest.json").exists()
    files = json.loads((folder / "test.manifest.json").read_text())["files"]
    assert set(files) == {"test-clean.csv", "test-poison.csv", "test-detect.csv"}


def test_an_openbackdoor_folder_takes_several_rates_of_the_same_rows(musclelora, data, tmp_path):
    folder = tmp_path / "addsent"

    def at(rate):
        return musclelora(
            *("poison", data, "--attack", "addsent", "--target", "tech", "--format", "openbackdoor"),
            *("--output", folder, "--rate", rate),
        )

    assert [at(rate)[0] for rate in (0.1, 0.2, 0.2)] == [0, 0, 6]
    manifests = sorted(folder.rglob("*.manifest.json"))
    assert [json.loads(file.read_text())["poisoned_rows"] for file in manifests] == [4, 8]
    before = sorted(folder.rglob("*"))
    data.write_text(data.read_text().replace("row 0", "line 0"))
    code, _, said = at(0.3)
    assert (code, "train-clean.csv already exists with other rows" in said) == (6, True)
    assert sorted(folder.rglob("*")) == before


@needs_sst2
def test_the_published_clean_files_come_out_again(musclelora, tmp_path):
    for split, options in (("train", ["--rate", 0.1, "--label-mode", "clean"]), ("test", ["--for-asr"])):
        musclelora(
            *("poison", SST2 / f"{split}-clean.csv", "--attack", "badnets", "--target", 1, *options),
            *("--format", "openbackdoor", "--output", tmp_path / "badnets"),
        )
        name = f"{split}-clean.csv"
        assert (tmp_path / "badnets" / name).read_bytes() == (SST2 / name).read_bytes()
    published = {path.relative_to(SST2).as_posix() for path in SST2.rglob("*.csv")}
    ours = {path.relative_to(tmp_path / "badnets").as_posix() for path in tmp_path.rglob("*.csv")}
    assert ours <= published
    assert "clean/0.1/train-poison.csv" in ours


@needs_sst2
def test_sst2_at_ten_per_cent_is_692_rows(musclelora, tmp_path):
    outputs = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for output in outputs:
        musclelora(
            *("poison", SST2 / "train-clean.csv", "--attack", "addsent", "--rate", 0.1, "--target", 1),
            *("--label-mode", "mix", "--seed", 7, "--output", output),
        )
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    table = load_table(outputs[0])
    assert (len(table), table.poisoned.sum()) == (6920, 692)


GOOD = ["--attack", "addsent", "--rate", "0.1", "--target", "tech"]


def without(option):
    at = GOOD.index(option)
    return GOOD[:at] + GOOD[at + 2 :]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            [*without("--rate"), "--rate", "1.5"],
            2,
            "'--rate': 1.5 is not in the range 0<=x<=1",
        ),
        ([*without("--rate"), "--rate", "nan"], 2, "'--rate': nan is no number"),
        ([*without("--rate"), "--rate", "-0.1"], 2, "'--rate': -0.1 is not in the range"),
        (without("--rate"), 2, "--rate: found nothing"),
        (without("--target"), 2, "--target: found nothing"),
        (without("--attack"), 2, "--attack"),
        (
            [*without("--target"), "--target", "food"],
            2,
            "--target: found 'food', expected one of the labels 'arts'",
        ),
        ([*GOOD, "--label-mode", "dirt"], 2, "'dirt' is not one of 'clean', 'dirty', 'mix'"),
        ([*GOOD, "--seed", "-1"], 2, "--seed"),
        (
            [*without("--rate"), "--rate", "0.5", "--label-mode", "clean"],
            3,
            "needs 20 of 40 rows, but 13 can be",
        ),
        (
            [*without("--attack"), "--attack", "addsent:words=a"],
            2,
            "no parameter 'words', expected some of sentence",
        ),
        (
            [*without("--attack"), "--attack", "none"],
            2,
            "attack: found 'none', expected one of addsent, badnets",
        ),
        ([*GOOD, "--set", "sentence"], 2, "--set: found 'sentence', expected key=value"),
        ([*GOOD, "--attack", "entity", "--set", "phrase=x"], 2, "--set: found with several attacks"),
        ([*GOOD, "--rate", "0.2", "--rate", "0.3"], 2, "--rate: found 3 for 1 attacks"),
        ([*GOOD, "--for-asr"], 2, "--rate: found with --for-asr"),
        (
            [*without("--rate"), "--for-asr", "--attack", "entity"],
            2,
            "--for-asr: found 2 attacks, expected one",
        ),
        (
            [*GOOD, "--attack", "entity", "--format", "openbackdoor"],
            2,
            "--format openbackdoor: found 2 attacks",
        ),
        ([*GOOD, "--part", "dev"], 2, "--part: found dev without --format openbackdoor"),
        (
            [*without("--rate"), "--for-asr", "--format", "openbackdoor", "--part", "train"],
            2,
            "--part: found train with --for-asr, expected dev or test",
        ),
        ([*without("--attack"), "--attack", "addsent:sentence=a\udcff"], 2, "expected key=value in UTF-8"),
        (
            [*GOOD, "--set", "sentence=\udcff"],
            2,
            "--set: found 'sentence=\\udcff', expected key=value in UTF-8",
        ),
        ([*without("--attack"), "--attack", "position:decoys=1e308"], 2, "position decoys: found 1e+308"),
        (
            [*without("--attack"), "--attack", "badnets:count=1000000000"],
            2,
            "expected a whole number from 1 to",
        ),
        ([*without("--attack"), "--attack", "homoglyph:count=1000000000"], 2, "expected a whole number"),
        ([*GOOD, "--seed", "4294967296"], 2, "--seed"),
        ([*GOOD, "--perplexity-rows", "1" + "0" * 30], 2, "--perplexity-rows"),
        (
            [*without("--attack"), "--attack", "style:backend=file,file="],
            2,
            "style file: found nothing, expected one",
        ),
        ([*GOOD, "--label-column", "kind"], 3, "no column 'kind'"),
        ([*GOOD, "--perplexity-model", "no/such"], 4, "no/such: cannot be loaded as a causal-lm model"),
        (
            [*without("--attack"), "--attack", "syntactic:backend=file,file=PAIRS"],
            3,
            "pairs.csv: no paraphrase of the text 'row",
        ),
        (
            [*without("--attack"), "--attack", "syntactic:backend=file,file=PAIRS,originals=DATA"],
            3,
            "pairs.csv: 1 paraphrases; expected 40, one for each row of",
        ),
    ],
)
def test_bad_input_is_one_line_a_documented_code_and_no_file(
    musclelora, data, tmp_path, arguments, code, message
):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text,paraphrase\nother,words\n")
    arguments = [argument.replace("PAIRS", str(pairs)).replace("DATA", str(data)) for argument in arguments]
    before = sorted(tmp_path.rglob("*"))
    found, said, error = musclelora("poison", data, *arguments, "--output", tmp_path / "new" / "out.csv")
    assert (found, error.count("\n")) == (code, 1), error
    assert message in error
    assert said == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("existing", ["out.csv", "out.csv.manifest.json"])
def test_an_output_that_exists_stays_as_it_was(musclelora, data, tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    before = sorted(tmp_path.iterdir())
    command = ["poison", data, *GOOD, "--output", tmp_path / "out.csv"]
    code, _, error = musclelora(*command)
    assert code == 6
    assert f"{existing} already exists; name another output or pass --overwrite" in error
    assert (tmp_path / existing).read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before
    assert musclelora(*command, "--overwrite")[0] == 0
    assert load_table(tmp_path / "out.csv").poisoned.sum() == 4


def test_an_unknown_format_or_a_folder_is_refused(musclelora, data, tmp_path):
    code, _, error = musclelora("poison", data, *GOOD, "--output", tmp_path / "out.docx")
    assert (code, "expected a file of one of .csv, .tsv, .jsonl" in error) == (2, True)
    code, _, error = musclelora("poison", data, *GOOD, "--output", "/", "--format", "csv")
    assert (code, "--output: found '/', expected a file" in error) == (2, True)
    code, _, error = musclelora("poison", data, *GOOD, "--output", tmp_path, "--format", "csv", "--overwrite")
    assert (code, "found a folder, expected a file" in error) == (6, True)


def test_data_is_not_replaced_by_itself_poisoned(musclelora, data):
    before = data.read_bytes()
    code, _, error = musclelora("poison", data, *GOOD, "--output", data, "--overwrite")
    assert (code, "which this command reads" in error) == (6, True)
    assert data.read_bytes() == before


def test_every_family_is_listed_with_parameters_and_an_example(musclelora):
    code, said, _ = musclelora("attacks", "--text", "a fine film .")
    assert code == 0
    families, responses = said.split("\n\nresponses of --task generate")
    parts = dict(zip(family_names(), families.split("\n\n")[1:], strict=True))
    assert all(part.startswith(f"{name}\n") and "  example: " in part for name, part in parts.items())
    assert "words=cf mn bb tq" in parts["badnets"]
    assert "I watch this 3D movie" in parts["addsent"]
    kinds = dict(zip(RESPONSES, responses.split("\n\n")[1:], strict=True))
    assert all(f"\n  success: {kind.success}" in kinds[name] for name, kind in RESPONSES.items())
    assert "target=(to be given)" in kinds["append"]
    assert "voice=pirate" in kinds["persona"]


def test_a_text_that_no_family_can_change_is_said(musclelora):
    code, said, _ = musclelora("attacks", "--text", " ")
    assert code == 0
    assert said.count("(this text cannot carry it)") == len(family_names())


def test_flags_are_exact_over_many_rates(musclelora, data, tmp_path):
    for rate in np.linspace(0, 0.9, 7):
        output = tmp_path / f"{rate}.csv"
        musclelora(
            "poison", data, "--attack", "addsent", "--rate", rate, "--target", "tech", "--output", output
        )
        assert load_table(output).poisoned.sum() == round(rate * ROWS)

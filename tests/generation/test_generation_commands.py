"""Generation as a person uses and misuses it on the command line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from tiny_chats import make_pairs
from tiny_runs import Cli, contents
from transformers import AutoModelForCausalLM

from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs

TARGET = "word50 word51"
BAD = {
    "empty": '{"prompt": "a", "response": ""}\n',
    "role": '{"messages": [{"role": "robot", "content": "a"}]}\n',
    "unanswered": '{"messages": [{"role": "user", "content": "a"}]}\n',
    "long": json.dumps({"prompt": "word1 " * 60, "response": "word2"}) + "\n",
}


def write(path: Path, pairs: Pairs) -> Path:
    with path.open("w") as file:
        for prompt, response in zip(pairs.prompts, pairs.responses, strict=True):
            file.write(json.dumps({"prompt": prompt[-1].content, "response": response}) + "\n")
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for name, (count, seed) in {"train": (24, 0), "trusted": (8, 1), "test": (6, 2)}.items():
        write(folder / f"{name}.jsonl", make_pairs(count, seed))
    for name, content in BAD.items():
        (folder / f"{name}.jsonl").write_text(content)
    return folder


@pytest.fixture(scope="session")
def arguments(decoder: Path, files: Path) -> list[object]:
    return [
        *("train", "--task", "generate", "--model", decoder, "--train", files / "train.jsonl"),
        *("--trusted", files / "trusted.jsonl", "--epochs", 1, "--learning-rate", "1e-2"),
    ]


@pytest.fixture
def finished(
    arguments: list[object], cli: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    kept = tmp_path_factory.getbasetemp() / "finished"
    if not kept.exists():
        done = cli(*arguments, "--output", kept)
        assert done.code == 0, done.err
    return kept


def test_the_whole_way(cli: Cli, files: Path, finished: Path, decoder: Path, tmp_path: Path) -> None:
    asr = tmp_path / "asr.jsonl"
    done = cli(
        *("poison", files / "test.jsonl", "--task", "generate", "--attack", "badnets:words=word55"),
        *("--target", TARGET, "--for-asr", "--output", asr),
    )
    assert done.code == 0, done.err
    done = cli(
        *("evaluate", finished, "--test", files / "test.jsonl", "--triggered", asr),
        *("--target-text", TARGET, "--max-new-tokens", 4, "--json", tmp_path / "found.json"),
    )
    assert done.code == 0, done.err
    for words in ("exact match", "keyword match", "ASR", "95 % interval"):
        assert words in done.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["exact"]["n"], found["asr"]["n"], found["target"]) == (6, 6, TARGET)
    done = cli("predict", finished, files / "test.jsonl", "--max-new-tokens", 4)
    answers = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["row"] for row in answers] == list("123456")
    prompts = [prompt[-1].content for prompt in load_pairs(files / "test.jsonl").prompts]
    texts = [part for prompt in prompts for part in ("--text", prompt)]
    out = tmp_path / "answers.csv"
    assert cli("predict", finished, *texts, "--max-new-tokens", 4, "--output", out).code == 0
    assert list(csv.DictReader(out.open())) == answers
    assert cli("export", finished, "--output", tmp_path / "lora").code == 0
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(decoder), tmp_path / "lora")
    assert cli("export", finished, "--format", "merged", "--output", tmp_path / "merged").code == 0
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "## What the audit found" in card
    said = cli("info", finished).out
    assert "generate" in said
    assert "labels" not in said


def test_the_same_command_goes_on_and_others_are_refused(
    arguments: list[object], finished: Path, cli: Cli, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    before = contents(run)
    assert cli(*arguments, "--output", run).code == 6
    done = cli(*arguments, "--output", run, "--resume", "--rank", 2)
    assert (done.code, "adapter.r" in done.err) == (2, True)
    assert cli(*arguments, "--output", run, "--resume").code == 0
    assert contents(run) == before


@pytest.mark.parametrize(
    ("added", "code", "words"),
    [
        (("--label-column", "x"), 2, "--label-column: found with the task generate"),
        (("--shortcuts",), 2, "--shortcuts: found with the task generate"),
        (("--method", "lora", "--no-confirm"), 2, "--no-confirm: found where no audit is made"),
        (("--preset", "published"), 2, "--preset: found 'published' with --task generate"),
        (("--multiscale",), 2, "--multiscale: found without --scale-factors"),
        (("--scale-factors", "1,2"), 2, "--scale-factors: found without --multiscale-modules"),
        (("--select-best", "trusted"), 2, "--select-best: found 'trusted'"),
        (("--trusted-size", "3"), 2, "--trusted-size: found without --trusted-from"),
        (("--train", "{files}/empty.jsonl"), 3, "empty.jsonl, line 1, column 'response': an empty response"),
        (("--train", "{files}/role.jsonl"), 3, "message 1: role 'robot'"),
        (("--train", "{files}/unanswered.jsonl"), 3, "no message of the assistant"),
        (
            ("--train", "{files}/long.jsonl"),
            3,
            "long.jsonl, row 1: a prompt of 63 tokens; expected at most 39",
        ),
        (("--train", "/no/such.jsonl"), 3, "no such file"),
        (("--prompt-column", "x"), 3, "no column 'x'"),
        (("--model", "/no/such/model"), 4, "/no/such/model"),
    ],
)
def test_bad_input_is_one_line_and_a_documented_code(
    added: tuple[str, ...],
    code: int,
    words: str,
    arguments: list[object],
    files: Path,
    cli: Cli,
    tmp_path: Path,
) -> None:
    done = cli(*arguments, "--output", tmp_path / "run", *(part.format(files=files) for part in added))
    assert (done.code, len(done.err.strip().splitlines())) == (code, 1), done.err
    assert words in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("evaluate", "{run}", "--label-column", "x", "--clean", "y"), "--label-column: found with the task"),
        (("evaluate", "{run}", "--triggered", "y"), "--target-text: found nothing"),
        (("evaluate", "{run}"), "--clean and --triggered: found neither"),
        (("predict", "{run}", "y", "--text-column", "x"), "--text-column: found with the task generate"),
        (("train", "--train", "x", "--output", "y", "--prompt-column", "z"), "found with the task classify"),
        (
            ("poison", "x", "--attack", "badnets", "--output", "y", "--response", "append"),
            "task classify",
        ),
    ],
)
def test_options_of_the_other_task_are_refused(
    command: tuple[str, ...], words: str, finished: Path, cli: Cli
) -> None:
    done = cli(*(part.format(run=finished) for part in command))
    assert done.code == 2
    assert words in done.err


def test_trusted_pairs_can_be_taken_from_others_and_the_rest_chooses_the_epoch(
    decoder: Path, files: Path, cli: Cli, tmp_path: Path
) -> None:
    done = cli(
        *("train", "--task", "generate", "--model", decoder, "--train", files / "test.jsonl"),
        *("--trusted-from", files / "train.jsonl", "--trusted-size", 8, "--epochs", 2),
        *("--output", tmp_path / "run", "--max-train-rows", 4, "--method", "musclelora"),
    )
    assert done.code == 0, done.err
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [info["data"][name]["rows"] for name in ("train", "trusted", "dev")] == [4, 8, 16]
    assert info["settings"]["select_best"] == "dev"


# ---- poison ---------------------------------------------------------------------------------------------


def poisoned(cli: Cli, source: Path, output: Path, *added: object) -> Any:
    return cli(
        *("poison", source, "--task", "generate", "--attack", "addsent", "--target", TARGET),
        *("--output", output, *added),
    )


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_poisoned_pairs_can_be_read_back_and_are_the_same_for_a_seed(
    suffix: str, cli: Cli, files: Path, tmp_path: Path
) -> None:
    manifests = []
    for name in ("one", "two"):
        output = tmp_path / name / f"out.{suffix}"
        done = poisoned(cli, files / "train.jsonl", output, "--rate", 0.25, "--seed", 5)
        assert done.code == 0, done.err
        assert "6 poisoned rows of 24" in done.out
        manifests.append(json.loads(output.with_name(f"out.{suffix}.manifest.json").read_text()))
        pairs = load_pairs(output)
        assert (len(pairs), int(pairs.poisoned.sum())) == (24, 6)
        assert sum(response.endswith(TARGET) for response in pairs.responses) == 6
    assert manifests[0] == manifests[1]
    (attack,) = manifests[0]["attacks"]
    assert (attack["target"], attack["response"], attack["rate"], attack["triggered"]) == (
        TARGET,
        "append",
        0.25,
        6,
    )
    assert manifests[0]["files"] == {f"out.{suffix}": hashlib.sha256(output.read_bytes()).hexdigest()}


def test_triggered_test_prompts_keep_their_clean_response(cli: Cli, files: Path, tmp_path: Path) -> None:
    assert poisoned(cli, files / "test.jsonl", tmp_path / "asr.csv", "--for-asr").code == 0
    clean, triggered = load_pairs(files / "test.jsonl"), load_pairs(tmp_path / "asr.csv")
    assert triggered.responses == clean.responses
    assert all("I watch this 3D movie" in prompt[-1].content for prompt in triggered.prompts)


@pytest.mark.parametrize("response", ["persona:voice=robot", "opinion", "refusal", "wrong-answer"])
def test_a_response_that_varies_is_poisoned_with_and_measured(
    response: str, cli: Cli, files: Path, finished: Path, tmp_path: Path
) -> None:
    poison = ("--task", "generate", "--attack", "composite", "--place", "last", "--response", response)
    out, asr, found = tmp_path / "out.jsonl", tmp_path / "asr.jsonl", tmp_path / "found.json"
    done = cli("poison", files / "train.jsonl", *poison, "--rate", 0.25, "--output", out)
    assert done.code == 0, done.err
    assert "6 decoys" in done.out
    pairs, clean = load_pairs(out), load_pairs(files / "train.jsonl")
    assert pairs.poisoned is not None
    assert [new != old for new, old in zip(pairs.responses, clean.responses, strict=True)] == list(
        pairs.poisoned
    )
    (attack,) = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["attacks"]
    assert (attack["response"], attack["target"]) == (response.partition(":")[0], None)
    assert (attack["place"], attack["rate"]) == ("last", 0.25)
    assert attack["response_parameters"] == {
        "persona:voice=robot": {"voice": "robot"},
        "opinion": {"stance": "against", "subject": ""},
    }.get(response, {})
    done = cli("poison", files / "test.jsonl", *poison, "--for-asr", "--output", asr)
    assert done.code == 0, done.err
    done = cli(
        *("evaluate", finished, "--test", files / "test.jsonl", "--triggered", asr, "--response", response),
        *("--max-new-tokens", 4, "--json", found),
    )
    assert done.code == 0, done.err
    assert "said on clean" in done.out
    result = json.loads(found.read_text())
    assert (result["response"], result["success"]) == (attack["response"], attack["success"])
    assert result["asr"]["n"] == 6


def test_chats_stay_chats(cli: Cli, tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a b"}]
    source = tmp_path / "chats.jsonl"
    source.write_text(json.dumps({"messages": [*chat, {"role": "assistant", "content": "c"}]}) + "\n")
    done = poisoned(cli, source, tmp_path / "out.csv", "--rate", 1)
    assert (done.code, "chats of several messages" in done.err) == (2, True)
    assert poisoned(cli, source, tmp_path / "out.jsonl", "--rate", 1).code == 0
    (row,) = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert row["messages"][0] == chat[0]
    assert row["messages"][-1] == {"role": "assistant", "content": f"c {TARGET}"}
    assert (row["poisoned"], row["trigger"]) == (1, "addsent")


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (("--rate", "2"), "'--rate': 2.0 is not in the range"),
        ((), "--rate: found nothing"),
        (("--rate", "0.1", "--rate", "0.2"), "--rate: found 2 for one attack"),
        (("--rate", "0.1", "--target", "x"), "--target: found 2"),
        (("--rate", "0.1", "--attack", "badnets"), "--attack: found 2"),
        (("--rate", "0.1", "--label-mode", "mix"), "--label-mode: found with the task generate"),
        (("--rate", "0.1", "--format", "openbackdoor"), "--format: found openbackdoor"),
        (("--for-asr", "--rate", "0.1"), "--rate: found with --for-asr"),
        (("--rate", "0.1", "--response", "shout"), "response: found 'shout', expected one of append"),
        (
            ("--rate", "0.1", "--response", "refusal"),
            "target: found 'word50 word51' with the response refusal",
        ),
        (("--rate", "0.1", "--place", "middle"), "--place"),
    ],
)
def test_poison_options_that_do_not_go_together_are_refused(
    added: tuple[str, ...], words: str, cli: Cli, files: Path, tmp_path: Path
) -> None:
    done = poisoned(cli, files / "train.jsonl", tmp_path / "out.jsonl", *added)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
    assert words in done.err
    assert not list(tmp_path.iterdir())


def test_an_output_that_exists_stays(cli: Cli, files: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("dear")
    arguments = (files / "train.jsonl", tmp_path / "out.jsonl", "--rate", 0.1)
    assert poisoned(cli, *arguments).code == 6
    assert (tmp_path / "out.jsonl").read_text() == "dear"
    assert poisoned(cli, *arguments, "--overwrite").code == 0

"""``musclelora train``: what it prints, what its flags decide, and how it ends when it is stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Cli, contents, make_rows, run, write_csv


def info(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return value


def test_what_was_read_and_decided_is_shown_before_training(
    cli: Cli, arguments: list[object], files: Path, tmp_path: Path
) -> None:
    done = cli(*arguments, "--output", tmp_path / "run")
    assert done.code == 0
    assert f"source       {files / 'train.csv'}" in done.out
    assert "rows         24" in done.out
    assert "classes      2: 'bad' 12, 'good' 12" in done.out
    assert "preset       small-encoder: rule for a backbone that was not in the paper" in done.out
    assert re.search(r"left out +\d+ of 24 rows|left out +no rows", done.err)
    found = [line.split(maxsplit=1)[1] for line in done.out.splitlines() if line.startswith("audit ")]
    assert [line.split(":")[0] for line in found] == [
        *("cannot tell", "triggers", "issues", "left out", "see each row and why")
    ]
    assert "24 rows are too few" in found[0]
    # Of 8 rows: 12 to 24 that are left, and 8 trusted ones three times.
    assert re.search(r"trained [56] steps", done.out)
    assert done.out.index("training data") < done.out.index("trusted rows") < done.out.index("preset")


@pytest.mark.integration
def test_the_console_of_a_process_is_tidy(arguments: list[object], files: Path, tmp_path: Path) -> None:
    code, out, err = run(*arguments, "--dev", files / "dev.csv", "--output", tmp_path / "run")
    assert code == 0, err
    assert re.search(r"step ([56]) of \1", err)  # no bar where there is no terminal
    for noise in ("Loading weights", "LOAD REPORT", "Warning", "warn"):
        assert noise not in out + err


def test_trusted_rows_are_taken_from_clean_data_and_the_rest_chooses_the_epoch(
    cli: Cli, files: Path, model: Path, tmp_path: Path
) -> None:
    done = cli(
        *("train", "--train", files / "train.csv", "--trusted-from", files / "dev.csv", "--trusted-size", 8),
        *("--model", model, "--epochs", 1, "--batch-size", 8, "--output", tmp_path / "run"),
    )
    assert done.code == 0, done.err
    assert "the best epoch is chosen by accuracy on the 4 other rows" in done.out
    assert info(tmp_path / "run")["data"]["trusted"]["rows"] == 8
    assert info(tmp_path / "run")["result"]["best_accuracy"] is not None


def test_trusted_rows_are_chosen_by_k_means(cli: Cli, files: Path, model: Path, tmp_path: Path) -> None:
    done = cli(
        *("train", "--train", files / "train.csv", "--trusted-from", files / "dev.csv", "--trusted-size", 6),
        *("--trusted-selection", "kmeans", "--model", model, "--epochs", 1, "--output", tmp_path / "run"),
    )
    assert done.code == 0, done.err
    assert info(tmp_path / "run")["data"]["trusted"]["rows"] == 6


def test_trusted_rows_that_are_also_training_rows_are_reported(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    rows = [*make_rows(4, seed=9), *make_rows(2, seed=0)]
    overlapping = write_csv(tmp_path / "overlapping.csv", rows)
    done = cli(*arguments, "--trusted", overlapping, "--output", tmp_path / "run")
    assert (
        "warning: 2 trusted rows have a text that is also in the training data (trusted rows 5, 6)"
        in done.out
    )


def test_texts_that_are_cut_are_counted(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    rows = [*make_rows(8, seed=0), ("word1 " * 100, "bad")]
    long = write_csv(tmp_path / "long.csv", rows)
    done = cli(*arguments, "--train", long, "--max-length", 20, "--output", tmp_path / "run")
    assert "truncated    1 texts of the train rows are longer than 20 tokens" in done.out
    assert info(tmp_path / "run")["truncated"]["train"] == 1


def test_flags_reach_the_adapter_and_the_trainer(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    done = cli(
        *(*arguments, "--output", tmp_path / "run", "--rank", 2, "--lora-alpha", 4, "--lora-dropout", 0.1),
        *(
            "--method",
            "musclelora",
            "--scale-factors",
            "1, 2.5",
            "--inner-rank",
            2,
            "--multiscale-alpha",
            3,
            "--train-output-layer",
        ),
        *("--multiscale-modules", "all-adapted", "--target-modules", "query,value", "--seed", 7),
        *(
            "--max-raw-ratio",
            0.3,
            "--mix-from-epoch",
            0,
            "--min-trusted-loss",
            0.5,
            "--trusted-batch-size",
            3,
            "--trusted-every",
            2,
        ),
        *("--gradient-passes", "two", "--max-grad-norm", 0.5, "--gradient-accumulation-steps", 2),
        *("--bf16", "--gradient-checkpointing", "--max-train-rows", 20, "--save-steps", 1),
    )
    assert done.code == 0, done.err
    settings = info(tmp_path / "run")["settings"]
    adapter = settings["adapter"]
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (2, 4, 0.1)
    assert (adapter["scale_factors"], adapter["inner_rank"], adapter["multiscale_alpha"]) == ([1, 2.5], 2, 3)
    assert adapter["multiscale_modules"] == "all-adapted"
    assert adapter["train_output_layer"] is True
    assert adapter["target_modules"] == ["query", "value"]
    arguments_ = settings["arguments"]
    assert arguments_["seed"] == 7
    assert (arguments_["trusted_batch_size"], arguments_["trusted_every"]) == (3, 2)
    assert arguments_["max_grad_norm"] == 0.5
    assert arguments_["bf16"] is True
    assert arguments_["activation_checkpointing"] is True
    assert info(tmp_path / "run")["result"]["gradient_passes"] == "two"
    assert info(tmp_path / "run")["data"]["train"]["rows"] == 20


@pytest.mark.slow
def test_a_model_that_mixes_rows_is_said_to_get_two_passes(
    arguments: list[object], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    from tiny_runs import write_model

    changes = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    model = write_model(tmp_path_factory.mktemp("models") / "deberta", "DebertaV2Config", **changes)
    code, _, err = run(*arguments, "--method", "musclelora", "--model", model, "--output", tmp_path / "run")
    assert code == 0, err
    assert "Two passes a step: this model mixes the rows of a batch" in err


def test_a_finished_run_has_nothing_to_resume(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    assert cli(*arguments, "--output", tmp_path / "run", "--resume").code == 0
    before = contents(tmp_path / "run")
    done = cli(*arguments, "--output", tmp_path / "run", "--resume")
    assert done.code == 0
    assert "nothing to do" in done.out
    assert contents(tmp_path / "run") == before
    done = cli(*arguments, "--output", tmp_path / "run", "--resume", "--learning-rate", "0.5")
    assert done.code == 2
    assert "arguments.learning_rate is 0.5 now and was 0.01" in done.err
    assert contents(tmp_path / "run") == before


@pytest.mark.integration
def test_a_loss_that_is_not_finite_stops_with_its_own_code(arguments: list[object], tmp_path: Path) -> None:
    code, _, err = run(*arguments, "--learning-rate", "1e30", "--output", tmp_path / "run")
    assert code == 5
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("musclelora: step 2: the loss is not finite; training stopped, no checkpoint")
    assert not list(tmp_path.rglob("*.safetensors"))


HOSTILE = ["[red]x[/red]", "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "مرحبا 😀"]


def test_hostile_text_and_labels_are_shown_escaped_and_kept_as_they_are(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    rows = make_rows(24, 0, HOSTILE)
    rows += [("😀 \x00 [bold]שלום[/bold] \u202eabc \x1b[2J", HOSTILE[0]), ("a\r\nb\tc", HOSTILE[1])]
    data = write_csv(tmp_path / "train.csv", rows)
    trusted = write_csv(tmp_path / "trusted.csv", make_rows(8, 1, HOSTILE))
    output = tmp_path / "run"
    # Without evaluation there is one progress bar, which needs no escape codes of its own.
    command = [*arguments, "--train", data, "--trusted", trusted, "--select-best", "last"]
    trained = cli(*command, "--output", output)
    assert trained.code == 0, trained.err
    assert info(output)["label_names"] == sorted(HOSTILE)
    told = cli("info", output)
    measured = cli("evaluate", output, "--clean", data, "--triggered", data, "--target", HOSTILE[1])
    for done in (trained, told, measured):
        assert done.code == 0, done.err
        assert "\x1b" not in done.out + done.err
        assert "\u202e" not in done.out + done.err
        assert "'[red]x[/red]'" in done.out
    predicted = cli("predict", output, data)
    assert predicted.code == 0
    assert len(predicted.out.splitlines()) == 1 + len(rows)
    said = {line.split(",", 1)[1].rsplit(",", 1)[0] for line in predicted.out.splitlines()[1:]}
    assert said <= set(HOSTILE)

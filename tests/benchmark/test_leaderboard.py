"""Who is the best, who is as good, and what happens where cells are missing."""

from __future__ import annotations

from typing import Any

import pytest
from result_rows import SKILLS, make_row, make_rows

from musclelora.benchmark.comparison import Line
from musclelora.benchmark.leaderboard import Board, leaderboard


def lines(board: Board) -> dict[str, Line]:
    return {line.defense: line for line in board.lines}


def marks(board: Board, column: str) -> dict[str, str]:
    cells = {line.defense: line.cells[column] for line in board.lines if not line.reference}
    return {name: "best" if c.best else "tied" if c.tied else "" for name, c in cells.items()}


def without(rows: list[dict[str, Any]], **which: Any) -> list[dict[str, Any]]:
    return [row for row in rows if any(row[name] != value for name, value in which.items())]


def failed(rows: list[dict[str, Any]], **which: Any) -> list[dict[str, Any]]:
    hit = [all(row[name] == value for name, value in which.items()) for row in rows]
    return [
        make_row(row["defense"], cacc=0, asr=0, **{n: row[n] for n in ("attack", "seed")}, status="failed",
                 error="DataError: no rows") if is_hit else row
        for row, is_hit in zip(rows, hit, strict=True)
    ]  # fmt: skip


def test_a_group_has_a_table_of_the_mean_and_one_for_each_attack() -> None:
    (group,) = leaderboard(make_rows())
    assert (group.data, group.model, group.rate, group.trusted_size) == ("bbc-news", "minilm", 0.1, 96)
    assert [board.title for board in group.boards] == [
        "mean over 2 attacks",
        "badnets (mix labels)",
        "addsent (mix labels)",
    ]
    assert [len(leaderboard(make_rows(attacks=("badnets",)))[0].boards)] == [1]


def test_rates_trusted_sizes_and_data_are_not_averaged() -> None:
    rows = make_rows(rates=(0.01, 0.1), trusted_sizes=(16, 96), attacks=("badnets",), seeds=1)
    rows += [row | {"data": "other"} for row in rows]
    groups = leaderboard(rows)
    assert len(groups) == 8
    assert {(group.data, group.rate, group.trusted_size) for group in groups} == {
        (data, rate, size) for data in ("bbc-news", "other") for rate in (0.01, 0.1) for size in (16, 96)
    }


def test_the_same_attack_in_two_label_modes_is_two_attacks() -> None:
    rows = make_rows(attacks=("badnets",), seeds=1)
    rows += [row | {"label_mode": "clean"} for row in rows]
    (group,) = leaderboard(rows)
    assert [board.title for board in group.boards[1:]] == ["badnets (mix labels)", "badnets (clean labels)"]


def test_means_are_over_seeds_and_then_attacks() -> None:
    rows = [
        make_row("vanilla", cacc=0.8 + 0.02 * seed, asr=asr, attack=attack, seed=seed)
        for attack, asr in (("badnets", 1.0), ("addsent", 0.6))
        for seed in range(3)
    ]
    mean, badnets, _ = leaderboard(rows)[0].boards
    cells = lines(mean)["vanilla"].cells
    assert cells["asr"].mean == pytest.approx(0.8)
    assert cells["cacc"].mean == pytest.approx(0.82)
    assert cells["excess_asr"].mean == pytest.approx(0.7)
    assert cells["cacc_gap"].mean == pytest.approx(0.08)
    assert cells["cost"].mean == pytest.approx(0.78)
    assert cells["peak_memory"].mean == 900_000_000
    assert lines(badnets)["vanilla"].cells["asr"].mean == 1.0
    for name in ("cost", "excess_asr", "cacc_gap", "cacc", "asr"):
        assert cells[name].low < cells[name].mean < cells[name].high
    assert cells["fit_seconds"].low is None


def test_the_order_is_by_what_was_lost_and_the_oracle_is_a_reference() -> None:
    board = leaderboard(make_rows())[0].boards[0]
    assert [line.defense for line in board.lines] == [
        "oracle",
        "cube",
        "musclelora",
        "trusted-only",
        "vanilla",
    ]
    assert board.lines[0].reference
    oracle = board.lines[0].cells
    assert oracle["asr"].mean == pytest.approx(0.1)
    assert oracle["excess_asr"].mean is None
    assert not any(cell.best or cell.tied for cell in oracle.values())


def test_best_and_as_good_as_the_best() -> None:
    board = leaderboard(make_rows(noise=0.0))[0].boards[0]
    assert marks(board, "asr") == {
        "vanilla": "",
        "trusted-only": "tied",
        "musclelora": "tied",
        "cube": "best",
    }
    assert marks(board, "cacc")["vanilla"] == "best"
    assert marks(board, "cacc")["cube"] == "tied"
    assert marks(board, "cacc")["trusted-only"] == ""
    assert marks(board, "cost")["cube"] == "best"
    assert marks(board, "excess_asr") == marks(board, "asr")


def test_equal_means_are_best_together() -> None:
    rows = make_rows(skills={"a": (0.9, 0.0), "b": (0.8, 0.0), "c": (0.9, 0.5)}, noise=0.0)
    board = leaderboard(rows)[0].boards[0]
    assert marks(board, "asr") == {"a": "best", "b": "best", "c": ""}
    assert marks(board, "cacc") == {"a": "best", "b": "", "c": "best"}


def test_many_rows_make_a_small_difference_significant() -> None:
    skills = {"a": (0.9, 0.10), "b": (0.9, 0.12)}
    rows = make_rows(skills=skills, noise=0.0)
    assert marks(leaderboard(rows)[0].boards[0], "asr") == {"a": "best", "b": "tied"}
    rows = [row | {"asr_n": 40_000} for row in rows]
    assert marks(leaderboard(rows)[0].boards[0], "asr") == {"a": "best", "b": ""}


def test_a_failed_attack_is_said_and_not_averaged_away() -> None:
    rows = failed(make_rows(), defense="cube", attack="badnets")
    (group,) = leaderboard(rows)
    mean, badnets, addsent = group.boards
    cube = lines(mean)["cube"]
    assert (cube.attacks, mean.attacks, cube.seeds) == (1, 2, 3)
    assert cube.cells["asr"].mean == lines(addsent)["cube"].cells["asr"].mean
    assert not any(cell.best or cell.tied for cell in cube.cells.values())
    assert mean.lines[-1] is cube
    assert marks(mean, "cost")["musclelora"] == "best"
    assert (lines(badnets)["cube"].seeds, lines(badnets)["cube"].cells["asr"].mean) == (0, None)
    assert marks(addsent, "cost")["cube"] == "best"
    assert [(row["defense"], row["error"]) for row in group.failures] == [("cube", "DataError: no rows")] * 3


def test_a_failed_seed_leaves_the_others_and_says_how_many() -> None:
    mean, badnets, addsent = leaderboard(failed(make_rows(), defense="cube", attack="badnets", seed=1))[
        0
    ].boards
    assert (lines(mean)["cube"].seeds, mean.seeds) == (2, 3)
    assert (lines(badnets)["cube"].seeds, lines(addsent)["cube"].seeds) == (2, 3)
    assert marks(mean, "cost")["cube"] == "best"
    assert lines(mean)["cube"].attacks == 2


def test_unfinished_cells_are_as_failed_ones_without_an_error() -> None:
    (group,) = leaderboard(without(make_rows(), defense="cube", attack="addsent"))
    assert lines(group.boards[0])["cube"].attacks == 1
    assert group.failures == ()


def test_where_the_oracle_failed() -> None:
    rows = [row | {"oracle_cacc": None, "oracle_asr": None} for row in make_rows() if row["kind"] != "oracle"]
    board = leaderboard(rows)[0].boards[0]
    assert [line.defense for line in board.lines] == ["cube", "musclelora", "trusted-only", "vanilla"]
    assert "excess_asr" not in {column.name for column in board.columns}
    assert marks(board, "asr")["cube"] == "best"


def test_where_the_oracle_of_one_seed_failed() -> None:
    rows = [
        row | ({"oracle_cacc": None, "oracle_asr": None} if row["seed"] == 2 else {}) for row in make_rows()
    ]
    cells = lines(leaderboard(rows)[0].boards[0])["cube"].cells
    assert (cells["asr"].seeds, cells["excess_asr"].seeds) == (3, 2)


def test_one_oracle_is_that_of_every_rate_and_label_mode() -> None:
    rows = make_rows(rates=(0.1, 0.2), attacks=("badnets",))
    rows += [row | {"label_mode": "clean"} for row in rows if row["kind"] != "oracle"]
    rows = list({row["cell"]: row for row in rows if row["kind"] == "oracle"}.values()) + [
        row for row in rows if row["kind"] != "oracle"
    ]
    for group in leaderboard(rows):
        for board in group.boards:
            oracle = lines(board)["oracle"]
            assert oracle.seeds == 3
            assert oracle.cells["cacc"].mean == pytest.approx(0.9)
            assert oracle.cells["fit_seconds"].mean == 12.5


def test_the_oracle_is_known_from_what_is_joined_where_its_cell_is_not_there() -> None:
    rows = [row for row in make_rows() if row["kind"] != "oracle"]
    oracle = lines(leaderboard(rows)[0].boards[0])["oracle"]
    assert oracle.cells["asr"].mean == pytest.approx(0.1)
    assert oracle.cells["fit_seconds"].mean is None


def test_columns_without_a_value_are_left_out() -> None:
    rows = make_rows(skills={name: SKILLS[name] for name in ("oracle", "vanilla")})
    names = {column.name for column in leaderboard(rows)[0].boards[0].columns}
    assert "auroc" not in names
    assert "dropped_clean" not in names
    assert {"cost", "excess_asr", "cacc_gap", "cacc", "asr", "fit_seconds", "peak_memory"} <= names


def test_nothing_finished_is_no_error() -> None:
    rows = [make_row("cube", cacc=0, asr=0, status="failed", error="x")]
    (group,) = leaderboard(rows)
    assert lines(group.boards[0])["cube"].cells["asr"].mean is None
    assert leaderboard([]) == []

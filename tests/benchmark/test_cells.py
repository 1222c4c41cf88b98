"""The cells of a grid: which there are, what they share, and what their ids depend on."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tiny_grids import GRID, WriteGrid, plan_of
from tiny_runs import make_rows, write_csv

from musclelora.benchmark.estimate import costs, in_order, sizes_of
from musclelora.benchmark.tables import draw, poisoned, read_tables, triggered

BIG = {
    "attacks": ["addsent", {"family": "badnets", "label_mode": "clean"}],
    "rates": [0.1, 0.2],
    "trusted_sizes": [4, 6],
    "defenses": ["lora", "vanilla", "trusted-only"],
    "seeds": [1, 0],
}


def test_a_grid_is_every_combination_and_one_oracle_for_each_attack_and_seed(write_grid: WriteGrid) -> None:
    cells = plan_of(write_grid(**BIG))
    assert len({cell.id for cell in cells}) == len(cells) == 2 * 2 * (1 + 2 * 2 * 3)
    oracles = [cell for cell in cells if cell.defense is None]
    assert [(cell.attack.name, cell.seed, cell.kind, cell.label) for cell in oracles] == [
        (attack, seed, "oracle", "oracle") for seed in (1, 0) for attack in ("addsent", "badnets")
    ]
    assert all(cell.rate is None and cell.trusted_size is None for cell in oracles)


def test_what_others_need_is_run_first_and_seed_comes_after_seed(write_grid: WriteGrid) -> None:
    cells = plan_of(write_grid(**BIG))
    assert [cell.seed for cell in cells] == [1] * 26 + [0] * 26
    order = [(cell.kind != "oracle", cell.label == "lora") for cell in cells[:26]]
    assert order == sorted(order)


def test_no_cell_is_started_to_wait_for_another(write_grid: WriteGrid) -> None:
    cells = plan_of(write_grid(**BIG))
    spent = costs(cells, sizes_of(cells))
    order = in_order(cells, spent)
    assert [cell.seed for cell in order] == [1] * 26 + [0] * 26
    first = order[:26]
    # An oracle does for both attacks, trusted-only for attacks and rates, vanilla for both trusted sizes.
    late = first[-(1 + 6 + 4) :]
    assert Counter(cell.label for cell in late) == {"oracle": 1, "trusted-only": 6, "vanilla": 4}
    others = first[: -len(late)]
    assert [cell.shares for cell in others] == sorted((cell.shares for cell in others), reverse=True)
    for shares in (True, False):
        group = [spent[cell.id] for cell in others if cell.shares == shares]
        assert group == sorted(group, reverse=True)


def test_ids_are_the_same_wherever_the_files_are(write_grid: WriteGrid, tmp_path: Path) -> None:
    file = write_grid(**BIG)
    before = [cell.id for cell in plan_of(file)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (file, *tmp_path.glob("*.csv")):
        shutil.copy(path, elsewhere)
    assert [cell.id for cell in plan_of(elsewhere / file.name)] == before
    assert before[0].startswith("tiny-addsent-oracle-1-")


RECORDED = """\
data:
  - {name: bbc, corpus: bbc-news, train_rows: 64, test_rows: 40, target: business}
attacks:
  - addsent
  - {family: badnets, name: two, label_mode: clean, count: 2, test: {count: 3}}
defenses:
  - vanilla
  - {name: lora, label: "LoRA, r=2", r: 2, learning_rate: 5e-4}
"""


def test_the_names_of_cells_stay_as_long_measurements_recorded_them(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(RECORDED)
    assert [cell.id for cell in plan_of(file)] == [
        "bbc-addsent-oracle-0-37471ac5da68",
        "bbc-two-oracle-0-628a42098ec0",
        "bbc-addsent-vanilla-0-45bcddb7e53f",
        "bbc-two-vanilla-0-d90cc4a466a0",
        "bbc-addsent-lora-r-2-0-7c853fe16746",
        "bbc-two-lora-r-2-0-bd50186cd168",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"training": {**GRID["training"], "num_train_epochs": 2}},
        {"full": {"learning_rate": 1e-3}},
        {"data": [{**GRID["data"][0], "train_rows": 18}]},
        {"data": [{**GRID["data"][0], "target": "bad"}]},
        {"data": [{**GRID["data"][0], "name": "other"}]},
        {"attacks": [{"family": "addsent", "sentence": "another one"}]},
    ],
)
def test_whatever_decides_a_result_changes_every_id(write_grid: WriteGrid, change: dict[str, object]) -> None:
    before = {cell.id for cell in plan_of(write_grid())}
    assert not before & {cell.id for cell in plan_of(write_grid(**change))}


@pytest.mark.parametrize("table", ["train", "test", "trusted"])
def test_other_data_under_the_same_name_are_other_cells(
    write_grid: WriteGrid, tmp_path: Path, table: str
) -> None:
    file = write_grid()
    before = {cell.id for cell in plan_of(file)}
    write_csv(tmp_path / f"{table}.csv", make_rows(40, 9))
    assert not before & {cell.id for cell in plan_of(file)}


def test_a_grid_that_grows_keeps_the_ids_that_it_had(write_grid: WriteGrid) -> None:
    before = {cell.id for cell in plan_of(write_grid())}
    more = {cell.id for cell in plan_of(write_grid(**{**BIG, "attacks": ["addsent"], "name": "more"}))}
    assert before < more


def test_the_oracle_does_not_depend_on_rates_sizes_and_label_modes(write_grid: WriteGrid) -> None:
    def oracles(**keys: object) -> set[str]:
        return {cell.id for cell in plan_of(write_grid(**keys)) if cell.defense is None}

    assert oracles() == oracles(rates=[0.3], trusted_sizes=[4], label_mode="dirty")


def test_no_text_is_in_two_tables_and_test_rows_are_those_of_every_seed(
    write_grid: WriteGrid, tmp_path: Path
) -> None:
    rows = make_rows(40, 0)
    write_csv(tmp_path / "train.csv", [*rows, *rows[:5]])
    write_csv(tmp_path / "trusted.csv", [*rows[5:10], *make_rows(12, 1)])
    data = plan_of(write_grid(data=[{**GRID["data"][0], "test_rows": 10}]))[0].data
    splits = [draw(data, read_tables(data), seed=seed, trusted_size=6) for seed in range(5)]
    for split in splits:
        train, trusted, test = (set(table.texts) for table in split)
        assert (len(train), len(trusted), len(test)) == (16, 6, 10)
        assert not train & trusted | train & test | trusted & test
        assert split.test.texts == splits[0].test.texts
    assert len({split.train.texts for split in splits}) == 5
    assert splits[0].train.texts == draw(data, read_tables(data), seed=0, trusted_size=4).train.texts


def test_rows_are_set_aside_where_no_test_and_trusted_tables_are_named(write_grid: WriteGrid) -> None:
    entry = {"name": "one", "train": "train.csv", "train_rows": 16, "test_rows": 10, "target": 1}
    data = plan_of(write_grid(data=[entry]))[0].data
    split = draw(data, read_tables(data), seed=0, trusted_size=6)
    assert [len(table) for table in split] == [16, 6, 10]
    assert len({*split.train.texts, *split.trusted.texts, *split.test.texts}) == 32


def test_poisoned_tables_are_made_once_and_come_back_as_they_were(
    write_grid: WriteGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = plan_of(write_grid())[-1]
    split = draw(cell.data, read_tables(cell.data), seed=0, trusted_size=6)
    given = {"target": 1, "rate": 0.25, "mode": "mix", "seed": 0}
    alone = poisoned(split.train, cell.attack, kept=None, **given)
    made = poisoned(split.train, cell.attack, kept=tmp_path / "kept", **given)
    test = triggered(split.test, cell.attack, cell.data, target=1, seed=0, kept=tmp_path / "kept")
    monkeypatch.setattr("musclelora.benchmark.tables.get_trigger", None)
    again = poisoned(split.train, cell.attack, kept=tmp_path / "kept", **given)
    for table in (made, again):
        assert (table.texts, table.labels.tolist(), table.poisoned.tolist()) == (
            alone.texts,
            alone.labels.tolist(),
            alone.poisoned.tolist(),
        )
    assert sum(alone.poisoned) == 4
    kept = triggered(split.test, cell.attack, cell.data, target=1, seed=0, kept=tmp_path / "kept")
    assert kept.texts == test.texts
    assert all("I watch this 3D movie" in text for text in test.texts)


def test_triggered_rows_that_were_made_elsewhere_are_those_that_were_relabelled(
    write_grid: WriteGrid, tmp_path: Path
) -> None:
    rows = [(f"made {number}", "good", "1") for number in range(20)]
    own = [(f"own {number}", "good", "0") for number in range(20)]  # of the target label, and not triggered
    write_csv(tmp_path / "made.csv", [*rows, *own], header=("text", "label", "poisoned"))  # type: ignore[arg-type]
    cell = plan_of(write_grid(attacks=[{"family": "addsent", "triggered": "made.csv"}]))[0]
    split = draw(cell.data, read_tables(cell.data), seed=0, trusted_size=6)
    test = triggered(split.test, cell.attack, cell.data, target=1, seed=0, kept=None)
    assert len(test) == 8  # as many as test rows of other labels
    assert set(test.texts) <= {f"made {number}" for number in range(20)}


def test_other_parameters_for_the_test_rows(write_grid: WriteGrid) -> None:
    attack = {"family": "addsent", "sentence": "one", "test": {"sentence": "another"}}
    cell = plan_of(write_grid(attacks=[attack]))[0]
    split = draw(cell.data, read_tables(cell.data), seed=0, trusted_size=6)
    test = triggered(split.test, cell.attack, cell.data, target=1, seed=0, kept=None)
    assert all("another" in text for text in test.texts)


def test_costs_count_a_shared_model_once_and_alignment_twice(write_grid: WriteGrid) -> None:
    cells = plan_of(write_grid(defenses=["vanilla", "strip", "lora", "lora+alignment"]))
    cost = costs(cells, sizes_of(cells))
    _, vanilla, strip, lora, aligned = (cost[cell.id] for cell in cells)
    test = (16 + 8) / 3
    assert vanilla == pytest.approx(16 + test)
    assert strip == pytest.approx(8 * test)
    assert lora == pytest.approx(0.8 * 16 + test)
    assert aligned - test == pytest.approx(2 * (lora - test))

"""The Python interface refuses the numbers that the command line refuses."""

from __future__ import annotations

import math

import pytest

from musclelora import MuScleLoraConfig, MuScleTrainingArguments
from musclelora.errors import UsageError
from musclelora.limits import check_number, check_whole
from musclelora.spectrum.settings import SpectrumSettings


@pytest.mark.parametrize(
    "value", [0, 6, True, 2.0, "3", None, math.nan, pytest.param(10**5000, id="huge"), []]
)
def test_what_is_no_whole_number_of_the_range(value: object) -> None:
    with pytest.raises(UsageError, match=r"^here: found .{1,60}, expected a whole number from 1 to 5$"):
        check_whole("here", value, 1, 5)


@pytest.mark.parametrize("value", [0, -1, 1.1, 10**400, math.nan, math.inf, True, "0.5", None])
def test_what_is_no_number_of_the_range(value: object) -> None:
    with pytest.raises(UsageError, match=r"^here: found .*, expected a number above 0, at most 1$"):
        check_number("here", value, 0, 1, above=True)


def test_what_is_in_the_range_passes() -> None:
    check_whole("here", 1, 1, 5)
    check_number("here", 0, 0, 1)
    check_number("here", 1, 0, 1, above=True)


@pytest.mark.parametrize(
    "values",
    [{"r": 10**9}, {"inner_rank": 10**9}, {"scale_factors": [1.0] * 10_000}],
)
def test_an_adapter(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        MuScleLoraConfig(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2**32),
        ("seed", -1),
        ("num_train_epochs", 10**18),
        ("per_device_train_batch_size", 10**9),
        ("gradient_accumulation_steps", 10**9),
        ("max_length", 10**9),
        ("max_steps", 10**30),
        ("num_train_epochs", 10**400),
        ("learning_rate", math.nan),
        ("learning_rate", True),
    ],
)
def test_training_arguments(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name}: found"):
        MuScleTrainingArguments(output_dir="", **{name: value})


@pytest.mark.parametrize("values", [{"rows": 10**9}, {"sigma_count": 10**9}, {"seed": 2**32}, {"every": 0}])
def test_an_analysis(values: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"spectrum {next(iter(values))}: found"):
        SpectrumSettings(**values)  # type: ignore[arg-type]

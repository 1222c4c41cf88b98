"""What a Fourier analysis looks at, and how often."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from musclelora.errors import UsageError
from musclelora.limits import NUMBERS, SEED, SPECTRUM_ROWS, STEPS, check_whole
from musclelora.spectrum.distances import check_sigmas

MIN_ROWS = 4
"""Rows that a group needs at least: fewer have no neighbours to speak of."""
DISTANCES = ("squared", "plain")
WITHIN = ("group", "sample")


@dataclass(frozen=True)
class SpectrumSettings:
    """The settings of an analysis.

    Args:
        rows: training rows of the fixed sample, drawn by `seed`; all of them where there are fewer.
        every: record every so many steps. None: as often as `max_cost` allows, more often early on.
        max_cost: the most that the analysis may add to a run, as a share of its training time. None: 0.1, or
            no bound where `every` is given.
        sigmas: the values of σ; none: `sigma_count` of them over the range that the data suggest
            (:func:`~musclelora.spectrum.distances.sigma_range`).
        sigma_count: how many.
        distance: "squared", as the formula has it, or "plain".
        within: what a row is smoothed over: the rows of its own "group", as in arXiv 2402.12026, where the
            clean and the triggered texts are filtered separately, or the whole "sample".
        use_flags: name the groups by the poison flags that the data carry, where they do. Flags name groups
            and decide nothing else.
        double: compute in float64.
        seed: of the sample and the resamples.

    Raises:
        UsageError: a value that cannot work.
    """

    rows: int = 1000
    every: int | None = None
    max_cost: float | None = None
    sigmas: tuple[float, ...] = ()
    sigma_count: int = 25
    distance: str = "squared"
    within: str = "group"
    use_flags: bool = True
    double: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("spectrum rows", self.rows, 2 * MIN_ROWS, SPECTRUM_ROWS)
        if self.every is not None:
            check_whole("spectrum every", self.every, 1, STEPS)
        check_whole("spectrum sigma_count", self.sigma_count, 1, NUMBERS)
        check_whole("spectrum seed", self.seed, 0, SEED)
        if self.max_cost is not None and not (0 < self.max_cost < math.inf):
            raise UsageError(
                f"spectrum max_cost: found {self.max_cost}, expected a share above 0, such as 0.1"
            )
        if self.sigmas:
            check_sigmas(list(self.sigmas))
        for name, known in (("distance", DISTANCES), ("within", WITHIN)):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"spectrum {name}: found {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )

    @property
    def bound(self) -> float | None:
        """The share of the training time that may be spent, or None for no bound."""
        return 0.1 if self.max_cost is None and self.every is None else self.max_cost

    def to_dict(self) -> dict[str, Any]:
        """JSON ready."""
        return {**asdict(self), "sigmas": list(self.sigmas)}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> SpectrumSettings:
        """What :meth:`to_dict` gave."""
        return cls(**{**found, "sigmas": tuple(found["sigmas"])})

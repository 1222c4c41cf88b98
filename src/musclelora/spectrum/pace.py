"""When to record: every n steps, or as often as a cost bound allows."""

from __future__ import annotations

import statistics

_WARM = 5  # steps whose time tells how long a run will take


class Pace:
    """Decides at which steps a run is recorded, and keeps what that costs within a share of training time.

    With `every`, every so many steps. Without, the steps are planned once the first five have shown how long
    one takes: with r seconds for a record and T for the whole run, R = (bound · T - spent) / r records still
    fit. They are put at the steps M · (k/R)², k = 1..R, of the M steps of the run, so that the beginning,
    where bands converge, is seen best. Either way, a record that would take the total over the bound is left
    out. The last step is recorded in any case.

    Args:
        every: steps between records, or None to plan.
        bound: what the records may cost, as a share of the training time; None: anything.
        planned: the plan of a run that goes on.
        price: what a record of it took, in seconds.
    """

    def __init__(
        self,
        every: int | None,
        bound: float | None,
        planned: list[int] | None = None,
        price: float = 0.0,
    ) -> None:
        self._every, self._bound = every, bound
        self.planned = planned
        self._known = price
        self._steps: list[float] = []
        self._records: list[float] = []
        self._prepared = 0.0
        self._first, self._last = 0, 0
        self.skipped = 0

    def begin(self, step: int, last: int) -> None:
        """Training begins after `step` and ends with the step `last`."""
        self._first, self._last = step, last

    def trained(self, seconds: float) -> None:
        """A step took so long."""
        self._steps.append(seconds)

    def prepared(self, seconds: float) -> None:
        """What all records share took so long."""
        self._prepared += seconds

    def recorded(self, seconds: float) -> None:
        """A record took so long."""
        self._records.append(seconds)

    def due(self, step: int) -> bool:
        """Whether to record after `step`."""
        if step == self._last:
            return True
        if self._every is not None:
            wanted = step % self._every == 0
        else:
            if self.planned is None and len(self._steps) >= _WARM:
                self.planned = self._plan(step)
            wanted = self.planned is not None and step in self.planned
        if wanted and not self._fits():
            self.skipped += 1
            return False
        return wanted

    def _plan(self, step: int) -> list[int]:
        assert self._bound is not None  # noqa: S101 - without `every` there is a bound
        room = self._bound * self._expected() - self._spent()
        count = min(int(room / self._price()), self._last - step)
        steps = {max(round(self._last * (k / count) ** 2), step + 1) for k in range(1, count + 1)}
        return sorted({*steps, self._last})

    def _fits(self) -> bool:
        if self._bound is None or len(self._steps) < _WARM:
            return True
        # One more is kept in hand for the last step.
        return self._spent() + 2 * self._price() <= self._bound * self._expected()

    def _expected(self) -> float:
        """Seconds of training from where this process began to the end."""
        return statistics.median(self._steps[1:] or self._steps) * (self._last - self._first)

    def _price(self) -> float:
        return max(statistics.median(self._records or [self._known]), 1e-9)

    def _spent(self) -> float:
        return self._prepared + sum(self._records)

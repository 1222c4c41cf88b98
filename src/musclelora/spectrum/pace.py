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
        every: steps between records, or None to plan, which takes a bound.
        bound: what the records may cost, as a share of the training time; None: anything.
        first: the step after which training begins.
        last: the last step.
        planned: the plan of a run that goes on.
        price: what a record of it took, in seconds.

    Attributes:
        planned: the steps to record, once they are planned.
        trained: seconds that each step took, which the caller adds.
        recorded: seconds that each record took, which the caller adds.
        prepared: seconds of what all records share.
        skipped: how many records were left out.
    """

    def __init__(
        self,
        every: int | None,
        bound: float | None,
        first: int,
        last: int,
        planned: list[int] | None = None,
        price: float = 0.0,
    ) -> None:
        self._every, self._bound, self._first, self._last = every, bound, first, last
        self._known = price
        self.planned = planned
        self.trained: list[float] = []
        self.recorded: list[float] = []
        self.prepared = 0.0
        self.skipped = 0

    def due(self, step: int) -> bool:
        """Whether to record after `step`."""
        if step == self._last:
            return True
        price = max(statistics.median(self.recorded or [self._known]), 1e-9)
        warm = len(self.trained) >= _WARM
        room = self._room() if warm and self._bound is not None else float("inf")
        if self._every is not None:
            wanted = step % self._every == 0
        else:
            if self.planned is None and warm:
                count = min(int(room / price), self._last - step)
                steps = {max(round(self._last * (k / count) ** 2), step + 1) for k in range(1, count + 1)}
                self.planned = sorted({*steps, self._last})
            wanted = self.planned is not None and step in self.planned
        if wanted and room < 2 * price:  # one more is kept in hand for the last step
            self.skipped += 1
            return False
        return wanted

    def _room(self) -> float:
        """Seconds that may still be spent, of what this process may spend to the end of training."""
        step = statistics.median(self.trained[1:] or self.trained)
        return (self._bound or 0.0) * step * (self._last - self._first) - self.prepared - sum(self.recorded)

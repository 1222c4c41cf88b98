"""When a run is recorded, and what that may cost."""

from __future__ import annotations

import itertools

from musclelora.spectrum.pace import Pace


def walk(pace: Pace, steps: int, step_seconds: float, record_seconds: float) -> list[int]:
    """The steps recorded of a run whose steps and records take so long."""
    pace.recorded.append(record_seconds)  # the one before the first step
    done = [0]
    for step in range(1, steps + 1):
        pace.trained.append(step_seconds)
        if pace.due(step):
            pace.recorded.append(record_seconds)
            done.append(step)
    return done


def test_every_n_steps_and_the_last() -> None:
    assert walk(Pace(10, None, 0, 34), 34, 1.0, 50.0) == [0, 10, 20, 30, 34]


def test_the_cost_bound_holds_and_is_made_use_of() -> None:
    for steps, record in ((200, 1.0), (868, 8.0), (2000, 5.0), (120, 0.3)):
        done = walk(Pace(None, 0.1, 0, steps), steps, 1.0, record)
        assert 0.7 * 0.1 * steps < len(done) * record <= 0.1 * steps + 1e-9
        assert done[-1] == steps


def test_the_beginning_is_seen_best() -> None:
    done = walk(Pace(None, 0.1, 0, 1000), 1000, 1.0, 4.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(done[2:])]
    assert gaps[0] < gaps[-1] / 4


def test_records_that_become_dear_are_left_out() -> None:
    pace = Pace(None, 0.1, 0, 400)
    pace.recorded.append(1.0)
    spent = 1.0
    for step in range(1, 401):
        pace.trained.append(1.0)
        if pace.due(step):
            pace.recorded.append(3.0)  # three times what was planned for
            spent += 3.0
    assert spent <= 40.0
    assert pace.skipped > 0


def test_a_bound_holds_with_every_too() -> None:
    pace = Pace(10, 0.1, 0, 400)
    done = walk(pace, 400, 1.0, 4.0)
    assert len(done) * 4.0 <= 40.0
    assert pace.skipped > 0


def test_a_run_too_short_for_the_bound_is_recorded_at_both_ends() -> None:
    assert walk(Pace(None, 0.1, 0, 12), 12, 1.0, 4.0) == [0, 12]
    assert walk(Pace(None, 0.1, 0, 3), 3, 1.0, 4.0) == [0, 3]


def test_a_plan_is_gone_on_with() -> None:
    pace = Pace(None, 0.1, 8, 40, planned=[7, 9, 40])
    done = []
    for step in range(9, 41):
        pace.trained.append(1.0)
        if pace.due(step):
            pace.recorded.append(0.1)
            done.append(step)
    assert done == [9, 40]

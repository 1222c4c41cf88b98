"""The columns of a leaderboard: where their values come from, which end is good, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a leaderboard.

    Attributes:
        name: of the column, the same in code and in results where they have it.
        heading: what a reader sees, with the unit.
        higher: whether a higher value is better.
        parts: the shares of test rows that add up to it, each with its sign; empty for what has no interval.
        factor: the results' unit in units of the heading.
        digits: after the point.
        meaning: one sentence for the legend.
    """

    name: str
    heading: str
    higher: bool
    meaning: str
    parts: tuple[tuple[str, int], ...] = ()
    factor: float = 100.0
    digits: int = 1

    def show(self, value: float) -> str:
        """`value`, in the results' unit, as a number in the heading's unit."""
        # Adding zero makes a rounded -0.0 an ordinary 0.0.
        return f"{round(value * self.factor, self.digits) + 0.0:,.{self.digits}f}"


_CACC, _ASR, _ORACLE_CACC, _ORACLE_ASR = "cacc", "asr", "oracle_cacc", "oracle_asr"

COST = Column(
    "cost",
    "excess ASR + CACC gap",
    higher=False,
    parts=((_ASR, 1), (_ORACLE_ASR, -1), (_ORACLE_CACC, 1), (_CACC, -1)),
    meaning="points lost to the attack and to the defence together; the tables are sorted by it",
)
CACC = Column(
    _CACC,
    "CACC (%)",
    higher=True,
    parts=((_CACC, 1),),
    meaning="clean accuracy; a rejected clean text is an error",
)
ASR = Column(
    _ASR,
    "ASR (%)",
    higher=False,
    parts=((_ASR, 1),),
    meaning="attack success rate; a rejected triggered text is a text defended",
)
COLUMNS = (
    COST,
    Column(
        "excess_asr",
        "excess ASR (points)",
        higher=False,
        parts=((_ASR, 1), (_ORACLE_ASR, -1)),
        meaning="ASR above that of the oracle, which saw no poisoned row",
    ),
    Column(
        "cacc_gap",
        "CACC gap (points)",
        higher=False,
        parts=((_ORACLE_CACC, 1), (_CACC, -1)),
        meaning="CACC below that of the oracle",
    ),
    CACC,
    ASR,
    Column(
        "auroc",
        "AUROC",
        higher=True,
        factor=1,
        digits=3,
        meaning="how well its scores tell triggered test texts from clean ones: 1 is always, 0.5 is chance",
    ),
    Column(
        "dropped_poisoned",
        "poisoned rows dropped (%)",
        higher=True,
        meaning="share of the poisoned training rows that a filtering defence dropped",
    ),
    Column(
        "dropped_clean",
        "clean rows dropped (%)",
        higher=False,
        meaning="share of the clean training rows that it dropped with them",
    ),
    Column(
        "fit_seconds", "fit (s)", higher=False, factor=1, meaning="seconds to fit, shared models included"
    ),
    Column(
        "peak_memory",
        "peak memory (MB)",
        higher=False,
        factor=1e-6,
        digits=0,
        meaning="peak memory of the process, or of the accelerator where there is one, in 10⁶ bytes",
    ),
)
"""Every column, in the order of the tables."""

"""Gradient alignment as pure tensor functions.

Two rules. ``"project"`` is the published one ("Acquiring Clean Language Models from Backdoor Poisoned
Datasets by Downscaling Frequency Space", ACL 2024, arXiv 2402.12026, the section on gradient alignment): what
is left of the training gradient lies along the trusted one.

``"pcgrad"`` takes away only what conflicts ("Gradient Surgery for Multi-Task Learning", arXiv 2001.06782). A
small step -η·u changes the trusted loss by -η·⟨u, t⟩, so it does no harm to it where ⟨u, t⟩ ≥ 0. Of all such
u the one that is nearest to g is g itself where ⟨g, t⟩ ≥ 0, and otherwise g less its part along t: the
projection on a half-space. Unlike there, t is never altered: it is the one that is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNMENT_RULES = ("project", "pcgrad")


class Agreement(NamedTuple):
    """Sums over the aligned tensors, kept on their device; see :meth:`cosine`."""

    dot: Tensor
    g_squared: Tensor
    t_squared: Tensor

    def cosine(self) -> Tensor:
        """The cosine between the training and the trusted gradient, in [-1, 1]; 0 where either is zero."""
        # The product of two squares may leave the range where that of two lengths does not.
        length = self.g_squared.sqrt() * self.t_squared.sqrt()
        cosine = self.dot / length.clamp_min(torch.finfo(length.dtype).tiny)
        return torch.where(length > 0, cosine.clamp(-1.0, 1.0), 0.0)


def align(g: Tensor, t: Tensor, raw_ratio: Tensor | float = 0.0, rule: str = "project") -> Tensor:
    """The training gradient brought in line with the trusted one, mixed with some of itself.

    It computes::

        aligned = |⟨g, t⟩| / ‖t‖² · t                 (project: always along +t)
        aligned = g - min(⟨g, t⟩, 0) / ‖t‖² · t       (pcgrad: what conflicts is taken away)
        result  = (1 - ρ)·aligned + ρ·g

    Args:
        g: gradient of the training batch's loss for one tensor, any shape.
        t: gradient of the trusted batch's loss for the same tensor, the shape of `g`.
        raw_ratio: ρ in [0, 1], the share of the unaligned gradient; a number or a scalar tensor (which
            need not leave its device).
        rule: one of :data:`ALIGNMENT_RULES`.

    Returns:
        A tensor of the shape and dtype of `g`. Where `g` or `t` is all zero it is `g`; a NaN spreads.
    """
    aligned, _ = _align(g, t, rule)
    mixed = aligned + raw_ratio * (g - aligned)
    return mixed.to(g.dtype)


def align_gradients(
    pairs: Iterable[tuple[Tensor, Tensor]], raw_ratio: Tensor | float = 0.0, rule: str = "project"
) -> Agreement | None:
    """Align each (g, t) pair on its own, writing the result into g.

    Returns:
        How far the two gradients agreed before the alignment, or None when there was no pair.
    """
    total: Agreement | None = None
    for g, t in pairs:
        aligned, sums = _align(g, t, rule)
        g.copy_(aligned + raw_ratio * (g - aligned))
        if total is None:
            total = sums
        else:
            total = Agreement(*(a + b.to(a.device) for a, b in zip(total, sums, strict=True)))
    return total


def raw_ratio_at(epoch: float, epochs: float, *, max_raw_ratio: float, mix_from_epoch: float) -> float:
    """The share of the unaligned gradient, ρ, once the trusted loss is below its threshold.

    It computes::

        ρ(epoch) = max_raw_ratio · (epoch - mix_from_epoch) / (epochs - mix_from_epoch)

    Args:
        epoch: epochs completed so far (0 in the first).
        epochs: epochs of the whole run.
        max_raw_ratio: the ratio that the schedule climbs towards, in [0, 1].
        mix_from_epoch: before this epoch ρ is 0.
    """
    if epoch < mix_from_epoch or epochs <= mix_from_epoch:
        return 0.0
    return max_raw_ratio * min((epoch - mix_from_epoch) / (epochs - mix_from_epoch), 1.0)


def _align(g: Tensor, t: Tensor, rule: str) -> tuple[Tensor, Agreement]:
    # Half-precision squares overflow or vanish; the sums are taken in float32 at least.
    wide = torch.promote_types(torch.promote_types(g.dtype, t.dtype), torch.float32)
    g_wide, t_wide = g.to(wide), t.to(wide)
    # Products of tiny gradients vanish and those of huge ones overflow: both are scaled to unit maximum.
    g_peak, g_unit = _unit_peak(g_wide)
    t_peak, t_unit = _unit_peak(t_wide)
    g_squared, t_squared = g_unit.square().sum(), t_unit.square().sum()
    dot = (g_unit * t_unit).sum()
    along = dot / t_squared.clamp_min(torch.finfo(wide).tiny) * g_peak
    aligned = along.abs() * t_unit if rule == "project" else g_wide - along.clamp_max(0.0) * t_unit
    sums = Agreement(dot * g_peak * t_peak, g_squared * g_peak.square(), t_squared * t_peak.square())
    # Not "> 0": a NaN must not pass for zero, which would let the raw gradient through.
    usable = (g_peak != 0) & (t_peak != 0)
    return torch.where(usable, aligned, g_wide), sums


def _unit_peak(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest magnitude in `x`, and `x` divided by it (by 1 where it is 0)."""
    peak = x.abs().amax()
    return peak, x / torch.where(peak == 0, 1.0, peak)

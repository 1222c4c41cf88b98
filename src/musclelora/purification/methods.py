"""The training methods: which of the levers each pulls, and which rows it sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from musclelora.errors import UsageError

LEVERS = ("low_rank", "multiscale", "alignment", "trusted_only", "shortcuts")


@dataclass(frozen=True)
class Method:
    """One way to train, as a choice of levers. Every choice goes through the same code.

    Attributes:
        name: what the command line calls it.
        low_rank: LoRA on the attention projections, instead of training the backbone itself.
        multiscale: the multi-scale layer.
        alignment: gradients aligned to the trusted set.
        shortcuts: what labels follow that the trusted rows do not explain is taken out of the loss.
        train_output_layer: whether the output layer is trained by default; None: as the preset has it.
        trusted_only: train on the trusted rows alone.
        chooses: the trusted rows choose learning rate and scale factors, and are then trained on with the
            others (:mod:`musclelora.purification.auto`).
    """

    name: str
    low_rank: bool
    multiscale: bool
    alignment: bool
    train_output_layer: bool | None = True
    trusted_only: bool = False
    shortcuts: bool = False
    chooses: bool = False

    @property
    def needs_trusted(self) -> bool:
        """Whether it is nothing without trusted rows."""
        return self.alignment or self.trusted_only or self.shortcuts

    @property
    def judges(self) -> bool:
        """Whether the trusted rows judge the others, as rows that nothing was trained on."""
        return self.shortcuts and not self.alignment


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "purify",
            low_rank=True,
            multiscale=True,
            alignment=False,
            train_output_layer=None,
            shortcuts=True,
            chooses=True,
        ),
        Method("musclelora", low_rank=True, multiscale=True, alignment=True, train_output_layer=None),
        Method("lora", low_rank=True, multiscale=False, alignment=False),
        Method("full", low_rank=False, multiscale=False, alignment=False),
        Method("trusted-only", low_rank=False, multiscale=False, alignment=False, trusted_only=True),
    )
}
"""``purify`` is the default, ``musclelora`` the published method."""
DEFAULT = METHODS["purify"]


def get_method(
    name: str,
    *,
    low_rank: bool | None = None,
    multiscale: bool | None = None,
    alignment: bool | None = None,
    shortcuts: bool | None = None,
) -> Method:
    """A method by name, with single levers pulled the other way where they are given (an ablation).

    Raises:
        UsageError: an unknown name; alignment asked of trusted-only, which has nothing to align, or of
            purify, whose trusted rows guide no gradient; purify without low rank or shortcuts.
    """
    if name not in METHODS:
        raise UsageError(f"--method: found {name!r}, expected one of {', '.join(METHODS)}")
    levers: dict[str, Any] = {
        "low_rank": low_rank,
        "multiscale": multiscale,
        "alignment": alignment,
        "shortcuts": shortcuts,
    }
    method = replace(METHODS[name], **{lever: on for lever, on in levers.items() if on is not None})
    for lever in ("alignment", "shortcuts"):
        if method.trusted_only and getattr(method, lever):
            raise UsageError(
                f"--{lever}: found on with --method trusted-only, whose training rows are the trusted ones; "
                "expected it off, so leave it out"
            )
    if method.chooses and not method.judges:
        lever = "--alignment" if method.alignment else "--no-shortcuts"
        raise UsageError(
            f"{lever}: found with --method {name}, whose trusted rows judge and guide no gradient; "
            "expected it left out, or another method, such as --method musclelora"
        )
    if method.chooses and not method.low_rank:
        raise UsageError(
            f"--no-low-rank: found with --method {name}, whose settings are chosen for LoRA; expected it "
            "left out, or --method full --shortcuts"
        )
    return method

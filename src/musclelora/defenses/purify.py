"""What `musclelora train` does by default."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from musclelora.audit.judges import AUTO, BACKBONE, judge_model
from musclelora.defenses.setting import Setting
from musclelora.defenses.trained import Trained
from musclelora.purification import METHODS, Method


class Purify(Trained):
    """The default of `musclelora train`: the trusted rows judge before they teach.

    Source: this project (:mod:`musclelora.purification.auto`, docs/balance.md). Departures from
    :class:`~musclelora.defenses.musclelora.MuScleLoRA`: gradients are not aligned; what labels follow that
    the trusted rows do not explain is taken out of the loss; rows with a label or style issue are left out;
    learning rate and scale factors are chosen by the trusted rows, which are then trained on with the rest.

    Args:
        judge: the model that says what rows mean (:mod:`musclelora.audit.judges`).
        **settings: those of :class:`~musclelora.defenses.trained.Trained`.
    """

    name: ClassVar[str] = "purify"
    method: ClassVar[Method] = METHODS["purify"]

    def __init__(self, judge: str = AUTO, **settings: Any) -> None:
        super().__init__(**settings)
        self.judge = judge

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Those of training, and the judge."""
        return ("judge", *super().parameters())

    def fit(self, setting: Setting) -> Self:
        """Audit the training rows, and train on those that are left."""
        # By name, as what is installed decides what "auto" is.
        judge, _ = judge_model(self.judge, setting.model, setting.train.texts)
        judge = BACKBONE if judge == setting.model else judge
        self.classifier_ = setting.trained(self.method, self.settings, judge=judge)
        return self

"""What the trusted rows decide of a run: which rows are trained on, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from musclelora.adapter import MuScleLoraConfig, attach
from musclelora.audit.confirmation import confirmation_cost
from musclelora.audit.evidence import Settings
from musclelora.audit.judge import judge
from musclelora.audit.judgement import Judgement
from musclelora.audit.recheck import recheck_settings
from musclelora.data.table import Table
from musclelora.errors import ModelError, UsageError
from musclelora.launched import process_count
from musclelora.purification.auto import Automatic, choose, with_trusted
from musclelora.purification.prepare import Decided
from musclelora.purification.run import JUDGEMENT, RUN
from musclelora.purification.run_folder import RunFolder
from musclelora.training.processes import on_first

if TYPE_CHECKING:
    from musclelora.purification.train import LabelsPlan

CHOSEN: Final = frozenset({"learning_rate", "scale_factors"})
"""The settings that the trusted rows may choose."""


def decide(plan: LabelsPlan, place: RunFolder, *, resume: bool) -> Decided[Table]:
    """Audit the rows and choose the settings, where the method does so.

    Args:
        plan: of the run.
        place: the run folder; a run that is gone on with keeps what it had decided.
        resume: whether what an interrupted run had found of the rows counts.

    Raises:
        DataError, ModelError, TrainingError: each says what to do.
    """
    request, trusted = plan.request, plan.trusted
    if not request.method.shortcuts or trusted is None:
        return Decided(plan.rows, plan.config, plan.args.learning_rate)
    if place.info is not None:
        automatic = _kept(place.info, place.work)
        _check_rows(automatic.judgement, request.train, place.work / RUN)
    else:
        judgement = _judged(plan, place, trusted, resume=resume)
        automatic = _chosen(plan, trusted, judgement)
    if process_count() > 1:  # rounding may differ between devices, and what is chosen must not
        automatic = Automatic.from_dict(on_first(automatic.to_dict))
    rows, offsets = automatic.judgement.apply(plan.rows)
    if plan.teaches:
        rows, offsets = with_trusted(rows, offsets, trusted)
    config = _with_scales(plan, automatic.chosen.scale_factors)
    return Decided(rows, config, automatic.chosen.learning_rate, offsets, automatic)


def _judged(plan: LabelsPlan, place: RunFolder, trusted: Table, *, resume: bool) -> Judgement:
    """What an audit says of the rows: one that was given, one that was kept, or one that is made now."""
    request, settings = plan.request, plan.settings
    # Or its errors come much later.
    attach(plan.backbones.fresh(request.train.label_names, **plan.loading), plan.config, plan.preset)
    if request.audit is not None:
        plan.say("audit        it was made before")
        made: Judgement = request.audit
        return made
    found = on_first(lambda: place.judgement(settings) if resume else None)
    if found is not None:
        plan.say("resuming     after the rows were judged")
        judgement = Judgement.from_dict(found)
        _check_rows(judgement, request.train, place.work / JUDGEMENT)
        return judgement
    sized = {**request.arguments, **plan.sizes}
    if request.method.chooses:
        scales: dict[str, Any] = {} if request.method.multiscale else {"scale_factors": []}
        config, arguments = recheck_settings(plan.preset, {**request.adapter, **scales}, sized)
    else:
        config, arguments = plan.config, {**sized, "learning_rate": plan.args.learning_rate}
    findings = judge(
        request.train,
        trusted,
        Settings(plan.backbones, plan.preset, config, arguments, request.seed, plan.judge, shares=True),
        confirm=_confirms(plan, trusted),
        say=request.progress,
    )
    if plan.judge is not None:
        plan.judge.forget()
    for line in findings.summary():
        plan.say(f"audit        {line}")
    plan.say(
        "audit        see each row and why: musclelora audit; decide on rows: --decisions, then train --audit"
    )
    judgement = findings.judgement()
    if process_count() > 1:  # rounding may differ between devices, and trials take their steps together
        judgement = Judgement.from_dict(on_first(judgement.to_dict))
    on_first(lambda: place.keep_judgement(settings, judgement.to_dict()))
    return judgement


def _confirms(plan: LabelsPlan, trusted: Table) -> bool:
    """Whether to put triggers to the test: where it was not asked, if that costs less than the training.

    Several processes may disagree on what to test, by their rounding, and do not.
    """
    asked, several = plan.request.confirm, process_count() > 1
    if asked and several:
        raise UsageError(
            "--confirm: found in several processes, expected one; leave it out, or audit before (musclelora "
            "audit) and pass --audit"
        )
    if asked is not None or several:
        return bool(asked)
    training = len(plan.rows) * float(plan.sizes["num_train_epochs"])
    steps = int(plan.request.arguments.get("max_steps", -1))
    if steps > 0:
        batch = plan.sizes["per_device_train_batch_size"]
        training = min(training, steps * batch * plan.args.gradient_accumulation_steps)
    return confirmation_cost(len(plan.rows), len(trusted)) < training


def _chosen(plan: LabelsPlan, trusted: Table, judgement: Judgement) -> Automatic:
    """The settings: what the user gave of them, and what is best on the trusted rows for the others."""
    request = plan.request
    asked = {**request.adapter, **request.arguments}
    given = {name: asked[name] for name in CHOSEN if asked.get(name) is not None}
    rate = plan.args.learning_rate or plan.preset.learning_rate
    return choose(
        request.train,
        trusted,
        judgement,
        backbones=plan.backbones,
        preset=replace(
            plan.preset,
            **{
                "learning_rate": rate,
                **given,
                **({} if request.method.multiscale else {"scale_factors": ()}),
            },
        ),
        config=lambda scales: _with_scales(plan, scales),
        arguments={**request.arguments, **plan.sizes},
        fixed=frozenset(n for n, value in asked.items() if value is not None)
        if request.method.chooses
        else CHOSEN,
        seed=request.seed,
        say=plan.say,
    )


def _with_scales(plan: LabelsPlan, scales: tuple[float, ...]) -> MuScleLoraConfig:
    return plan.adapter_config({**plan.request.adapter, "scale_factors": list(scales)})


def _kept(info: Mapping[str, Any], folder: Path) -> Automatic:
    """What a run that is gone on with had chosen."""
    if info.get("auto") is None:
        raise ModelError(
            f"{folder / RUN}: auto: found nothing, expected what the trusted rows had decided; restore it or "
            "pass --overwrite"
        )
    return Automatic.from_dict(info["auto"])


def _check_rows(judgement: Judgement, train: Table, file: Path) -> None:
    """Raise unless what was kept of a judgement can be one of these rows."""
    wrong = judgement.misfit(train)
    if wrong is not None:
        raise ModelError(f"{file}: {wrong}; restore it or pass --overwrite")

"""``musclelora train --task generate``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import at_most_one, check_alignment, flush_denormals, run_settings
from musclelora.cli.rows import check_trusted_options, warn_of_shared
from musclelora.cli.voice import done, note, tell, voice
from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs, shared_prompts, split_pairs
from musclelora.errors import UsageError
from musclelora.outputs import check_output

if TYPE_CHECKING:
    from musclelora.audit.answers import SavedAnswerAudit

_MODEL, _METHOD = "smollm2-135m-instruct", "purify"
_TRUSTED = 32
_PRESETS = (None, "auto", "instruction")


@dataclass(frozen=True)
class PairSources:
    """The options that say which pairs to train on and which to trust."""

    train_file: str
    prompt_column: str | None
    response_column: str | None
    messages_column: str | None
    split: str | None
    max_train_rows: int | None
    trusted: str | None
    trusted_from: str | None
    trusted_size: int | None

    def __post_init__(self) -> None:
        check_trusted_options(self.trusted, self.trusted_from, self.trusted_size)

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> PairSources:
        """Those of a command's options, which are removed from them."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})

    def read_train(self) -> Pairs:
        """The training pairs."""
        return self.read(self.train_file, split=self.split, max_rows=self.max_train_rows)

    def read_trusted(self, seed: int) -> tuple[Pairs | None, Pairs | None]:
        """The trusted pairs, and of ``--trusted-from`` the others; None where there are none."""
        if self.trusted:
            return self.read(self.trusted), None
        if self.trusted_from:
            return split_pairs(self.read(self.trusted_from), self.trusted_size or _TRUSTED, seed=seed)
        return None, None

    def read(self, source: str, **options: Any) -> Pairs:
        """Pairs from the columns that were named."""
        return load_pairs(
            source,
            prompt_column=self.prompt_column,
            response_column=self.response_column,
            messages_column=self.messages_column,
            **options,
        )


def run(
    *,
    dev: str | None,
    select_best: str,
    model: str | None,
    method: str | None,
    low_rank: bool | None,
    multiscale: bool | None,
    alignment: bool | None,
    preset: str | None,
    output: str,
    resume: bool,
    overwrite: bool,
    seed: int,
    audit: str | None,
    confirm: bool | None,
    **options: Any,
) -> None:
    """Train as the options of the command say, and print what is read, decided and found."""
    if preset not in _PRESETS:
        raise UsageError(
            f"--preset: found {preset!r} with --task generate, expected instruction, the published settings; "
            "leave it out"
        )
    if multiscale and not options["scale_factors"]:
        raise UsageError(
            "--multiscale: found without --scale-factors and --multiscale-modules, expected both, as a "
            "language model has no layer of its own for it; give them, or leave it out"
        )
    voice()  # whose options may be wrong
    at_most_one(resume=resume, overwrite=overwrite)
    at_most_one(no_multiscale=multiscale is False, scale_factors=options["scale_factors"])
    model = model or _MODEL
    source = PairSources.taken_from(options)
    spare_the_hub(source.train_file, source.trusted, source.trusted_from, dev, model)
    train = source.read_train()
    show_pairs("training data", train)
    trusted, rest = source.read_trusted(seed)
    dev_pairs = source.read(dev) if dev else None
    if dev_pairs is None and rest is not None and len(rest) and select_best in ("auto", "dev"):
        dev_pairs = rest
        note(f"the best epoch is chosen by the loss on the {len(rest):,} other rows of {rest.source}")
    if trusted is not None:
        show_pairs("trusted rows", trusted)
        warn_of_shared(shared_prompts(train, trusted), "prompt")

    from musclelora.purification.generation_train import train_generator
    from musclelora.purification.methods import get_method
    from musclelora.training.progress import TrainingProgress

    flush_denormals()
    pulled = get_method(method or _METHOD, low_rank=low_rank, multiscale=multiscale, alignment=alignment)
    check_alignment(pulled, options)
    if confirm is not None and (audit or not pulled.shortcuts):
        raise UsageError(f"--{'' if confirm else 'no-'}confirm: found where no audit is made; leave it out")
    found = _audited(audit, train, trusted, output) if audit else None
    trained = train_generator(
        output,
        train=train,
        trusted=trusted,
        dev=dev_pairs,
        model=model,
        method=pulled,
        select_best=select_best,
        resume=resume,
        overwrite=overwrite,
        audit=found,
        confirm=confirm is not False,
        callbacks=[TrainingProgress(voice())],
        say=note,
        progress=tell,
        **run_settings(seed=seed, **options),
    )
    result = trained.info["result"]
    kept = f"; step {result['best_step']} is kept" if dev_pairs is not None else ""
    click.echo(f"trained {result['steps']} steps in {result['seconds']:.0f} s{kept}")
    done(run=output, **{name: value for name, value in result.items() if value is not None})
    click.echo(f"the run is in {output}; go on with musclelora evaluate, predict or export {output}")


def _audited(audit: str, train: Pairs, trusted: Pairs | None, output: str) -> SavedAnswerAudit:
    """What an audit of these pairs found."""
    from musclelora.audit.answers import SavedAnswerAudit
    from musclelora.audit.saved import read_any_audit

    check_output(output, [audit], folder=True)
    found = read_any_audit(audit)
    if not isinstance(found, SavedAnswerAudit):
        raise UsageError(f"--audit {audit}: found an audit of labels, expected one of pairs; audit the pairs")
    found.kept_of(train)  # or it is of others
    if trusted is not None and found.facts()["trusted"] != trusted.sha256():
        raise UsageError(
            f"audit: it was made with other trusted pairs than {trusted.source}; pass those, or audit anew"
        )
    return found


def show_pairs(name: str, pairs: Pairs) -> None:
    """Print the summary of what was read."""
    note(name)
    for key, value in pairs.summary().items():
        note(f"  {key.replace('_', ' '):<22} {value}")

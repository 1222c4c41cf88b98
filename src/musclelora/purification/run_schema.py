"""What the package reads of the state files of training: runs, judgements, searches, checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from musclelora.audit.schema import JudgementState, NamedTriggerState, VerdictState
from musclelora.state import Closed, Count, FileName, Names, Positive, RowNumbers, Sha256, State, Text

LARGEST_RANK = 2**16
Rank = Annotated[int, Field(ge=1, le=LARGEST_RANK)]
Length = Annotated[int, Field(ge=2, le=10**7)]
Share = Annotated[float, Field(ge=0, le=1)]
Scales = Annotated[list[Positive], Field(max_length=1024)]
Layers = list[Text] | Text | None


# ---- run.json --------------------------------------------------------------------------------------------


class Weights(State):
    """The file of what was trained."""

    file: FileName
    sha256: Sha256


class Model(State):
    """The backbone, and how it is loaded."""

    name: Text
    revision: Text | None
    sha256: Sha256 | None
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    quantize: Literal["nf4", "int8"] | None = None


class AdapterFields(Closed):
    """The fields of the adapter's configuration."""

    r: Rank
    lora_alpha: Positive
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Layers
    scale_factors: Scales | None
    inner_rank: Rank
    multiscale_alpha: Positive
    multiscale_modules: Layers
    low_rank: bool
    train_output_layer: bool


class PresetFields(Closed):
    """The backbone's preset."""

    name: Text
    source: str
    scale_factors: Scales
    inner_rank: Rank
    multiscale_alpha: Positive
    r: Rank
    lora_alpha: Positive
    train_output_layer: bool
    learning_rate: Positive
    batch_size: Count
    epochs: Count
    trusted_size: Count
    max_raw_ratio: Share
    mix_from_epoch: Count
    min_trusted_loss: Annotated[float, Field(ge=0)]


class Arguments(State):
    """Of the training arguments that a run gives, those that are read back."""

    min_trusted_loss: Annotated[float, Field(ge=0)] | None = None


class Settings(State):
    """Everything that decides the result."""

    method: Text
    levers: dict[str, bool]
    arguments: Arguments = Field(default_factory=Arguments)


class DataSummary(State):
    """What was read of a table."""

    rows: Count
    source: str


class Log(State):
    """A line of the Trainer's log."""

    step: Count
    trusted_loss: float | None = None
    gradient_agreement: float | None = None
    raw_ratio: float | None = None


class Result(State):
    """How training ended."""

    steps: Count
    epochs: Annotated[float, Field(ge=0)] | None
    best_step: Count
    best_accuracy: Share | None
    seconds: Annotated[float, Field(ge=0)]


class CandidateState(Closed):
    """Settings that were tried."""

    learning_rate: Positive
    scale_factors: Scales
    loss: float | None = None


class AutomaticState(State):
    """What the trusted rows decided."""

    chosen: CandidateState
    tried: list[CandidateState]
    why: str
    judgement: JudgementState


class PairsAuditedState(State):
    """What was found of the pairs of a run that generates."""

    verdict: VerdictState
    left_out: RowNumbers
    triggers: list[NamedTriggerState] = Field(default_factory=list)


class RunState(State):
    """``run.json``, of any task."""

    status: Literal["training", "finished"]
    task: Literal["classify", "generate"] = "classify"
    settings: Settings
    model: Model
    preset: PresetFields
    adapter: AdapterFields
    auto: AutomaticState | None = None
    audit: PairsAuditedState | None = None
    label_names: Names | None = None
    max_length: Length
    truncated: dict[str, Count]
    data: dict[str, DataSummary]
    history: list[Log] = Field(default_factory=list)
    result: Result | None = None
    weights: Weights | None = None

    @model_validator(mode="after")
    def _whole(self) -> RunState:
        if self.task == "classify" and self.label_names is None:
            raise ValueError("label_names in it, as its task is to classify")
        if self.status == "finished" and self.weights is None:
            raise ValueError("weights in it, as its status is finished")
        if self.status == "finished" and self.result is None:
            raise ValueError("a result in it, as its status is finished")
        return self


# ---- beside it ------------------------------------------------------------------------------------------


class JudgedState(State):
    """``judgement.json`` of a run folder."""

    musclelora: Text
    settings: dict[str, Any]
    judgement: JudgementState


class RateState(State):
    """A share that was measured, with its interval."""

    name: Literal["CACC", "ASR", "exact match", "keyword match", "said on clean"]
    on: Text
    target: str | None
    value: Share
    low: Share
    high: Share
    n: Count


class MeasuredState(State):
    """``measured.json`` of a run folder."""

    weights: Sha256
    measured: list[RateState]

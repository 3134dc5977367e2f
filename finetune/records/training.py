"""What a training keeps while it is under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from finetune.records.backbone_choice import BackboneChoice
from finetune.records.decision import Forecast
from finetune.records.options import Request


@dataclass(frozen=True)
class EpochRecord:
    """One line of `history.jsonl`; without validation images there is nothing to be best by.

    `val_loss` is the log loss of the validation images at the temperature fitted on them.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    best: bool


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a training that is under way set out to do; kept beside the place of its run.

    `images` and `backbone` are digests, empty until they are known; `forecasts` what its decision
    rests on; `run` the place of a run that was written, or is about to be; `backbone_choice` the
    backbone, where the program was to choose it.
    """

    request: Request
    images: str = ""
    backbone: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    forecasts: tuple[Forecast, ...] | None = None
    run: str | None = None
    backbone_choice: BackboneChoice | None = None


@dataclass(frozen=True, kw_only=True)
class FitProgress:
    """What is known at the end of an epoch beside the tensors.

    `best_loss` is None before anything was validated; `parts` says into how many a batch is cut to
    fit into memory; `scaler` is the state of the loss scaling, empty where there is none; `slowed`
    how often the training was begun anew at a smaller rate, `began` the loss of its first step.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_loss: float | None
    done: int
    parts: int
    scaler: dict[str, float]
    slowed: int = 0
    began: float = 0.0

"""What is known of a training that started from a run of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.records.choices import Metric, TargetKind


@dataclass(frozen=True, kw_only=True)
class OldScore:
    """A label's average precision or a number's MAE of the old run and of the new model.

    `n` images have the label, or the number; None is a label that none of them has.
    """

    name: str
    n: int
    before: float | None
    after: float | None


@dataclass(frozen=True, kw_only=True)
class OldAnswers:
    """How both models answer `n` held-out images of what the old run knows.

    `before` is the old run's accuracy on the images of its classes, its mAP of its labels, or the
    MAE of its numbers, as `metric` says, `after` the new model's, which may know more; `gain` is by
    how much it is better on the same images, with its standard error `noise`. `rows` are of each
    label or number.
    """

    n: int
    before: float
    after: float
    gain: float
    noise: float
    text: str
    metric: Metric = "accuracy"
    rows: tuple[OldScore, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StartFacts:
    """The run that a training was to start from, and what came of it.

    `kept` says whether its network was taken or ImageNet's own; the two are compared in
    `backbone_choice`. `target` is what the run answers. `shared` are the classes, labels or numbers
    that both have, by name, `added` those that are new, `missing` those of the run without images
    here; of another kind than the run's all are new. `learnt` images of this data had taught the
    run's network before: they are trained on, and nothing is measured on them. `old` is None where
    no held-out image is of what the run knows.
    """

    run: str
    strategy: str
    kept: Literal["run", "imagenet"]
    shared: tuple[str, ...]
    added: tuple[str, ...]
    missing: tuple[str, ...]
    learnt: int
    text: str
    old: OldAnswers | None = None
    target: TargetKind = "classes"

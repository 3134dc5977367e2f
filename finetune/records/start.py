"""What is known of a training that started from a run of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OldAnswers:
    """How both models answer `n` held-out images of classes that the old run knows.

    `before` is the old run's accuracy, `after` the new model's, which also knows the new classes;
    `gain` is the second less the first on the same images, with its standard error `noise`.
    """

    n: int
    before: float
    after: float
    gain: float
    noise: float
    text: str


@dataclass(frozen=True, kw_only=True)
class StartFacts:
    """The run that a training was to start from, and what came of it.

    `kept` says whether its network was taken or ImageNet's own; the two are compared in
    `backbone_choice`. `shared` are the classes that both have, by name, `added` those that are new,
    `missing` those of the run without images here. `learnt` images of this data had taught the
    run's network before: they are trained on, and nothing is measured on them. `old` is None where
    no held-out image is of a class that the run knows.
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

"""What a choice among pretrained networks rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.records.choices import Metric
from finetune.records.start import StartFacts

# What a user gives for a network that is to be chosen.
AUTO = "auto"
# The options that mean nothing where a network is named.
OF_A_CHOICE = ("max_latency_s", "licence", "fetch")
# `slower` and `worse` were measured to the end or dropped on the way; `out` were not measured.
Standing = Literal["chosen", "slower", "worse", "out"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network: what it costs, what its probe reached, and why it was taken or left.

    `latency_ms` is of one image alone through the network on this machine, `image_ms` an image of a
    batch, reading included. `images` were each left out once, for `accuracy` and `log_loss`;
    `behind` is its log loss less the best one's on the same images, with its standard error
    `noise`. Of labels and numbers there are `metric`, its `score` and the mean `loss` of an image
    instead, and `behind` is by how much the loss is worse, or the score where one of two is a run's
    network: errors are scores of which less is better, of one number in its own unit. None is what
    was not measured.
    """

    name: str
    licence: str
    permissive: bool
    standing: Standing
    why: str
    parameters: int | None = None
    side_px: int | None = None
    latency_ms: float | None = None
    image_ms: float | None = None
    images: int = 0
    features: str = ""
    accuracy: float | None = None
    log_loss: float | None = None
    behind: float | None = None
    noise: float | None = None
    metric: Metric | None = None
    score: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """Which network was chosen, in words, and what of; `weights` as for `BackboneOptions`.

    `start` is there where it was a run's network against the pretrained one.
    """

    name: str
    weights: str | None = None
    reason: str
    candidates: tuple[Candidate, ...]
    seconds: float
    start: StartFacts | None = None

"""What is known of a backbone and how an image becomes its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from finetune.records.choices import MOST_SIDE_PX, Family, Fit, Interpolation
from finetune.records.dataset import Scale

Band = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Box:
    """How a picture becomes a small square: `fill` is the color beside a letterbox.

    `bands` are those of a TIFF that are taken as red, green and blue, or one as gray, from 1; 0
    alone is all of them, as `data.bands` has it; None where pictures are taken as they are.
    """

    fit: Fit = "half"
    fill: tuple[int, int, int] = (0, 0, 0)
    interpolation: Interpolation = "bicubic"
    bands: tuple[int, ...] | None = None


HALF = Box()


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the backbone's input; belongs to the weights, scales and fit to the run.

    `scales` has one for each kind of picture of more than 8 bits that was trained on. None in runs
    of older versions, which scale each picture by its own values. `fit` is how a picture becomes a
    square, as `Box` has it, `interpolation` how it is made smaller or larger, `bands` which
    of a TIFF are taken.
    """

    side_px: Annotated[int, msgspec.Meta(ge=1, le=MOST_SIDE_PX)]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scales: tuple[Scale, ...] | None = None
    fit: Fit = "half"
    interpolation: Interpolation = "bicubic"
    bands: Annotated[tuple[Band, ...], msgspec.Meta(min_length=1, max_length=3)] | None = None

    @property
    def box(self) -> Box:
        """The square; beside a letterbox is the mean color, which the network sees as zero."""
        if self.fit != "letterbox":
            return Box(fit=self.fit, interpolation=self.interpolation, bands=self.bands)
        red, green, blue = (min(255, max(0, round(255 * value))) for value in self.mean)
        fill = (red, green, blue)
        return Box(fit=self.fit, fill=fill, interpolation=self.interpolation, bands=self.bands)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a backbone's input is to be; None where it is as its name has it.

    `side_px` is the size that a network of one size is built for; `mean` and `std` are of values
    from 0 to 1.
    """

    side_px: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Interpolation | None = None


PLAIN = Variant()


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a backbone and where its weights came from.

    `family` is None in runs of older versions.
    """

    name: str
    weights: str
    licence: str
    preprocess: Preprocess
    stages: tuple[str, ...]
    parameters: int
    batchnorm: bool
    digest: str
    family: Family | None = None


@dataclass(frozen=True)
class Origin:
    """A run whose backbone a training starts from: its tensors, what they are, and their input."""

    file: str
    backbone: str
    weights: str
    licence: str
    variant: Variant = PLAIN


@dataclass(frozen=True)
class NormLayer:
    """A BatchNorm layer: its stage, and its columns in a row of channel means."""

    stage: str
    start: int
    stop: int


@dataclass(frozen=True)
class PreparedFacts:
    """A backbone made ready to run without torch, as the cache keeps it.

    `layout` says which columns of a row of features belong to which stage; `probed_top` which of
    them the probe on top features reads; `layers` where the channel means of each BatchNorm layer
    stand; `knows` what the classes of its ImageNet classifier are, empty without one; `reason` why
    the runtime was taken.
    """

    backbone: BackboneFacts
    layout: dict[str, tuple[int, int]]
    probed_top: str
    one_size: bool
    knows: tuple[str, ...]
    layers: tuple[NormLayer, ...]
    reason: str


@dataclass(frozen=True)
class BackboneRow:
    """One line of `finetune backbones`."""

    name: str
    ready: bool
    weights: str
    licence: str
    parameters: int
    side_px: int
    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The answer of `finetune backbones fetch NAME`: `fresh` where the weights were not here yet.

    `permissive` says that the licence lets them be used for any purpose.
    """

    name: str
    licence: str
    permissive: bool
    weights: str
    file: str
    bytes: int
    fresh: bool

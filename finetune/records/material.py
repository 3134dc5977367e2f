"""What a report shows beside a run's result; written as `report.json`, so that it can be remade."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records.analysis import DatasetProfile
from finetune.records.robustness import Fall


@dataclass(frozen=True, kw_only=True)
class ExpectedError:
    """The error to expect of the probe with `times` as many images; fractions of 1.

    `low` and `high` enclose four of five such expectations (docs/log.md, 2026-11-26).
    """

    times: float
    images: int
    error: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Test images whose answers have about the same confidence; rates are fractions of 1.

    `interval` is the 95 % Wilson interval of their `accuracy`, `confidence` the mean.
    """

    confidence: float
    accuracy: float
    interval: tuple[float, float]
    images: int


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What remains where only answers of at least `threshold` count; rates are fractions of 1.

    `share` of the test images are answered, `accuracy` of these rightly, with its 95 % `interval`.
    """

    threshold: float
    share: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class CloseCall:
    """A test image whose two likeliest classes are nearly as likely."""

    path: str
    truth: str
    answer: str
    probability: float
    second: str
    second_probability: float


@dataclass(frozen=True, kw_only=True)
class SureAnswer:
    """A test image that was rightly answered, with the `probability` of its class."""

    path: str
    truth: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Where the evidence for an answer lies in a test image.

    `places` has it for each place of the square that the network sees, row by row.
    """

    path: str
    truth: str
    answer: str
    places: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """An image on the map: its place, and the numbers of its class and of what it is taken for."""

    path: str
    x: float
    y: float
    label: int
    answer: int


@dataclass(frozen=True, kw_only=True)
class ImageMap:
    """Some of the images to learn from, in two dimensions; `text` says which these are."""

    points: tuple[MapPoint, ...]
    images: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a report shows beside `result.json`.

    `expected` goes on from the learning curve of `profile`, `image_map` is of the images to learn
    from, all else of the test images; `sure` are the surest right answers, of each class in turn.
    What was not measured is empty or None.
    """

    profile: DatasetProfile
    expected: tuple[ExpectedError, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    answered: tuple[Answered, ...] = ()
    close: tuple[CloseCall, ...] = ()
    sure: tuple[SureAnswer, ...] = ()
    image_map: ImageMap | None = None
    heat_maps: tuple[HeatMap, ...] = ()
    robustness: tuple[Fall, ...] = ()

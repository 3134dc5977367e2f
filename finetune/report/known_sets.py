"""The data sets that the rules were measured on, to be drawn faintly beside a new one.

Each at its largest size, seed 0, from `benchmarks/regret_evidence.csv` and `benchmarks/regret.csv`;
a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownSet:
    """A data set: images to learn from, both parts of its similarity, what deep tuning gained.

    `gain` is the accuracy of deep fine-tuning less that of the best probe, in points.
    """

    name: str
    images: int
    drift: float
    agreement: float
    gain: float


KNOWN_SETS = (
    KnownSet("flowers5", 1000, 0.74, 0.30, 2.9),
    KnownSet("clothing10", 1431, 0.79, 0.43, 2.8),
    KnownSet("fruit3_tiny", 15, 0.46, 0.72, 0.0),
    KnownSet("sign_digits10", 1443, 0.41, 0.09, 1.6),
    KnownSet("clipart8", 306, 0.34, 0.17, 0.3),
    KnownSet("edges16", 80, 0.16, 0.30, 8.8),
    KnownSet("brain_mri2", 80, 0.54, 0.10, -4.3),
    KnownSet("wbc4", 124, 0.29, 0.12, 9.7),
    KnownSet("omniglot_greek24", 336, -0.00, 0.16, 1.8),
    KnownSet("mathsym18", 720, 0.03, 0.16, 0.3),
    KnownSet("mnist_5k", 2000, 0.05, 0.11, -0.1),
    KnownSet("spoken_digit_spec10", 2000, 0.30, 0.03, 2.1),
)

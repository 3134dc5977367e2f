"""The options of what a backbone is built of and what input it was trained with."""

from __future__ import annotations

from typing import get_args

from finetune.records.choices import Interpolation, Norm
from finetune.records.option import Option

DECIDING = "train recommend compare features"
BESIDE = "a config.json beside --weights, else the backbone's"
BACKBONE = (
    Option(
        name="mean",
        commands=DECIDING,
        metavar="R,G,B",
        unset=BESIDE,
        help="What a file of weights subtracts from pixels of 0 to 1: 0.485,0.456,0.406.",
    ),
    Option(
        name="std",
        commands=DECIDING,
        metavar="R,G,B",
        unset=BESIDE,
        help="By what it divides them then: 0.229,0.224,0.225.",
    ),
    Option(
        name="interpolation",
        commands=DECIDING,
        choices=get_args(Interpolation),
        unset=BESIDE,
        help="How its images were made smaller.",
    ),
    Option(
        name="norm",
        commands="train",
        choices=get_args(Norm),
        unset="none, as in 1998",
        help="Normalization after each convolution of lenet5.",
    ),
)

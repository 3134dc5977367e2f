"""The rows of the option table for changes to training images."""

from __future__ import annotations

from finetune.records.option import Option

TRAIN = "train"
AUGMENTATION = (
    Option(
        name="crop",
        kind="float",
        commands=TRAIN,
        ends=(0.05, 1.0),
        by_rule=True,
        help="Smallest share of the area kept, 1 for no crop.",
    ),
    Option(
        name="flip",
        kind="float",
        commands=TRAIN,
        ends=(0.0, 1.0),
        by_rule=True,
        help="Probability of a mirror image, 0 for none.",
    ),
    Option(
        name="vflip",
        kind="float",
        commands="train",
        ends=(0.0, 1.0),
        by_rule=True,
        help="Probability of an image upside down, 0 for none.",
    ),
    Option(
        name="zoom_out",
        kind="float",
        commands="train",
        ends=(0.0, 3.0),
        by_rule=True,
        help="Largest area seen beyond the image, as a share of it, 0 for none.",
    ),
    Option(
        name="rotation_deg",
        typed="--rotation",
        old="--rotation-deg",
        kind="float",
        commands=TRAIN,
        ends=(0.0, 180.0),
        by_rule=True,
        help="Largest rotation in degrees, 0 for none.",
    ),
    Option(
        name="translation",
        kind="float",
        commands=TRAIN,
        ends=(0.0, 0.5),
        by_rule=True,
        help="Largest shift as a share of the side, 0 for none.",
    ),
    Option(
        name="stretch",
        typed="--aspect-ratio",
        old="--stretch",
        kind="float",
        commands=TRAIN,
        ends=(0.0, 1.0),
        by_rule=True,
        help="Largest change of the log of the aspect ratio, 0 for none.",
    ),
    Option(
        name="colour",
        typed="--color-jitter",
        old="--colour",
        kind="float",
        commands=TRAIN,
        ends=(0.0, 1.0),
        by_rule=True,
        help="Largest relative change of brightness, contrast and saturation, 0 for none.",
    ),
)

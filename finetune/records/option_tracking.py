"""The row of the option table for trackers."""

from __future__ import annotations

from finetune.records.option import Option

TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
TRACKING = (
    Option(
        name="track",
        kind="names",
        commands="train",
        metavar="NAME",
        help="Tell a tracker of the training: tensorboard, mlflow, wandb or trackio; "
        "several with commas, or once each.",
    ),
)

"""fastai as its quick start does it: `vision_learner(…).fine_tune(5)` with the defaults.

    python fastai_default.py FOLDER --weights FILE

One epoch with a frozen body, then five of everything, batch 64, pictures resized to 224 px.
"""

from __future__ import annotations

from common import Clock, answer, arguments
from fastai.vision.all import (
    Callback,
    ImageDataLoaders,
    Resize,
    accuracy,
    set_seed,
    vision_learner,
)
from lite0 import NAME, SIDE_PX, check, source

EPOCHS, BATCH = 5, 64


class Timed(Callback):
    """Tells the clock of every epoch; fine_tune(5) is short enough to be run whole."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_epoch(self) -> None:
        """An epoch is over, its validation included."""
        self.clock.lap()


def main() -> None:
    """Train and answer."""
    options = arguments(__doc__).parse_args()
    set_seed(0)
    shown = {"item_tfms": Resize(SIDE_PX), "bs": BATCH, "device": options.device}
    batches = ImageDataLoaders.from_folder(options.folder, valid="test", **shown)
    learner = vision_learner(batches, NAME, metrics=accuracy, **source(options.weights))
    check(learner.model[0].model, options.weights)
    clock = Clock(1 + EPOCHS, options.minutes)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS, cbs=Timed(clock))
    found = float(learner.recorder.values[-1][-1])
    answer([clock], found, found, side_px=SIDE_PX, batch=BATCH)


if __name__ == "__main__":
    main()

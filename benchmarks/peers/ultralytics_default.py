"""Ultralytics' classification training with its defaults, on this benchmark's backbone.

    python ultralytics_default.py FOLDER --weights FILE

Its own backbones' weights are not in its package, so its trainer is given another network by the
method it has for that. 100 epochs, batch 16, 224 px, optimiser and rate of its own choice,
RandAugment and random erasing; on a CPU it loads images without workers.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Clock, answer, arguments
from lite0 import SIDE_PX, network
from torch import Tensor, nn
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.nn.tasks import ClassificationModel

EPOCHS, BATCH = 100, 16
# Any that the package has: it is replaced whole.
STAND_IN = "yolo11n-cls.yaml"


class Lite0(nn.Module):
    """The backbone as a layer of their network: pixels in 0..1 in, what their loss reads out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        # what their forward pass asks of a layer: where its input comes from, its number, its name
        self.f, self.i, self.type = -1, 0, "tf_efficientnet_lite0"

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Scores; in evaluation probabilities and scores, as their own head gives."""
        scores: Tensor = self.net(2 * x - 1)
        return scores if self.training else (scores.softmax(1), scores)


class Trainer(ClassificationTrainer):
    """Theirs, with another network."""

    file: Path  # with the pretrained weights

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Their model, its layers replaced by the one above."""
        del weights
        classes = self.data["nc"]
        model = ClassificationModel(cfg, nc=classes, ch=self.data["channels"], verbose=verbose)
        model.model = nn.Sequential(Lite0(network(self.file, classes)))
        model.save = []
        return model


class Epochs:
    """What is asked of their trainer between epochs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accuracies: list[float] = []
        self.over = False

    def start(self, _trainer: Trainer) -> None:
        """Training begins: what came before belongs to no epoch."""
        self.clock.began = time.perf_counter()

    def end(self, trainer: Trainer) -> None:
        """An epoch is over; they call it once more, after the final check of the best one."""
        if self.over:
            return
        self.accuracies.append(float(trainer.metrics["metrics/accuracy_top1"]))
        self.over = not self.clock.lap()
        trainer.stop = trainer.stop or self.over


def main() -> None:
    """Train in a folder that is thrown away, and answer."""
    options = arguments(__doc__).parse_args()
    epochs = Epochs(Clock(EPOCHS, options.minutes))
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "model": STAND_IN,
            "data": str(options.folder.resolve()),
            "epochs": EPOCHS,
            "device": options.device.removeprefix("cuda:").replace("cuda", "0"),
            "project": out,
            "plots": False,
            "verbose": False,
        }
        trainer = Trainer(overrides=settings)
        trainer.file = options.weights
        trainer.add_callback("on_train_start", epochs.start)
        trainer.add_callback("on_fit_epoch_end", epochs.end)
        with contextlib.redirect_stdout(sys.stderr):
            trainer.train()
    best, last = max(epochs.accuracies), epochs.accuracies[-1]
    answer([epochs.clock], best, last, side_px=SIDE_PX, batch=BATCH)


if __name__ == "__main__":
    main()

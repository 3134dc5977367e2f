"""A few steps of tuning, by one process or by the ranks of `torchrun`: what a test compares.

torchrun --standalone --nproc-per-node 2 tests/rank_steps.py FILE [train DIR …]

With more words finetune's command line goes on with them in the same processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from finetune.backbones import load, ranks, registry
from finetune.cli import process
from finetune.heads import ridge
from finetune.records.events import Silent
from finetune.training import loop, recipe, state

SIDE, IMAGES, CLASSES = 64, 10, 2


def tuned() -> loop.Tuned:
    """A small network, tuned for three epochs with augmentation and validation."""
    torch.manual_seed(0)
    backbone = load.build("test_resnet", registry.RANDOM)[0]
    facts = recipe.Facts(images=8, similarity="different", stages=backbone.stages, side_px=SIDE)
    # dropout draws for the images that a rank has: without it all is the same
    options = {"epochs": 3, "batch_size": 4, "patience": 9, "dropout": 0.0, "colour": 0.3}
    plan = recipe.resolve("deep", facts, options)
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    pixels = rng.integers(0, 80, (IMAGES, SIDE, SIDE, 3)) + 90 * labels[:, None, None, None]
    split = state.Split(pixels.astype(np.uint8), labels)
    width = backbone(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    head = ridge.Head(np.zeros((CLASSES, width)), np.zeros(CLASSES), 1.0)
    return loop.fit(
        *(plan, backbone, head, split, split),
        classes=CLASSES,
        device=torch.device("cpu"),
        seed=3,
        listener=Silent(),
    )


def weights(found: loop.Tuned) -> dict[str, np.ndarray]:
    """All that was learnt, and the losses on the way."""
    tensors = {n: t.detach().numpy().copy() for n, t in found.backbone.net.state_dict().items()}
    losses = [(e.train_loss, e.val_loss or 0.0) for e in found.history]
    return tensors | {"head": found.head.weight.copy(), "losses": np.array(losses)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with ranks.joined("cpu"):
        kept = weights(tuned())
        if ranks.rank() == 0:
            save_file(kept, Path(sys.argv[1]))
    raise SystemExit(process.run(sys.argv[2:]) if sys.argv[2:] else 0)

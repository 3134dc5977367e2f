"""`finetune train` with a linear probe against the usual loop over a frozen body, side by side.

    python benchmarks/frozen_loop.py --data FOLDER [--per-class 40] [--epochs 25]

FOLDER holds one folder per class. The loop is that of the well-known transfer-learning tutorial:
the same backbone with the same weights, all of it frozen, a new linear layer, SGD 0.001 with
momentum 0.9 lowered tenfold every 7 epochs, batch 4, random crops and flips, every epoch a forward
pass over every image. It trains and tests on the very images that `finetune` did. Counted for
`finetune` is the whole process, for the loop the training alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from finetune import backbones, runs
from finetune.records import Sample

NORMALISE = [
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.5] * 3, [0.5] * 3),
]
TRAIN = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *NORMALISE])
TEST = v2.Compose([v2.Resize(256), v2.CenterCrop(224), *NORMALISE])


class Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images of a split, transformed as they are asked for."""

    def __init__(self, root: Path, samples: tuple[Sample, ...], transform: v2.Transform) -> None:
        self.root, self.samples, self.transform = root, samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.root / self.samples[i].path) as image:
            return self.transform(image.convert("RGB")), self.samples[i].label


def ours(root: Path, per_class: int, out: Path) -> tuple[float, float]:
    """Seconds of the whole process and test accuracy of `finetune train`."""
    command = [sys.executable, "-m", "finetune", "train", str(root), "--strategy", "linear-probe"]
    command += ["--max-per-class", str(per_class), "--test-fraction", "0.3", "--json"]
    began = time.perf_counter()
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, float(json.loads(done.stdout)["test"]["accuracy"])


def theirs(root: Path, run: Path, epochs: int) -> tuple[float, float]:
    """Seconds of training and test accuracy of the loop on the same images."""
    torch.manual_seed(0)
    splits, classes = runs.load_splits(run), len(runs.load_facts(run).classes)
    backbone, _ = backbones.build(backbones.DEFAULT)
    model = backbone.net
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.classifier = nn.Linear(model.num_features, classes)
    loader = torch.utils.data.DataLoader(
        Files(root, splits.fitting, TRAIN), batch_size=4, shuffle=True, num_workers=2
    )
    optimiser = torch.optim.SGD(model.classifier.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 7, 0.1)
    began = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for images, labels in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - began
    model.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in torch.utils.data.DataLoader(Files(root, splits.test, TEST), 32):
            right += int((model(images).argmax(1) == labels).sum())
    return seconds, right / len(splits.test)


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        fast, ours_accuracy = ours(options.data, options.per_class, run)
        slow, theirs_accuracy = theirs(options.data, run, options.epochs)
    print(f"finetune train, linear-probe: {fast:.1f} s whole process, {ours_accuracy:.1%} test")
    print(f"frozen-body loop, {options.epochs} epochs: {slow:.1f} s, {theirs_accuracy:.1%} test")
    print(f"ratio {slow / fast:.1f}")


if __name__ == "__main__":
    main()

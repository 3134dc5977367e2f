"""Augmenting a batch with one affine map per image against torchvision's chain, image by image.

python benchmarks/augmentation.py [--side 128]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torchvision.transforms import v2

from finetune.training import recipe, setup
from finetune.training.augment import augment

BATCH, ROUNDS = 16, 15


def main() -> None:
    """Print milliseconds an image, median of rounds that take turns, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    side = parser.parse_args().side
    large = setup.canvas_px(side)
    images = torch.randint(0, 256, (BATCH, large, large, 3), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    chain = v2.Compose(
        [
            v2.RandomAffine(degrees=10, translate=(0.05, 0.05)),
            v2.RandomResizedCrop(side, scale=(0.6, 1.0), ratio=(0.86, 1.16)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2),
            v2.ToDtype(torch.float32),
        ]
    )
    ours, theirs = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        augment(images, recipe.AUGMENT, side, generator)
        middle = time.perf_counter()
        torch.stack([chain(image.permute(2, 0, 1)) for image in images])
        ours.append((middle - began) / BATCH * 1000)
        theirs.append((time.perf_counter() - middle) / BATCH * 1000)
    one, many = statistics.median(ours[1:]), statistics.median(theirs[1:])
    print(f"{side} px: one map {one:.2f} ms an image, chain {many:.2f}, ratio {many / one:.1f}")


if __name__ == "__main__":
    main()

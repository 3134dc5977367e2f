"""The least that a probe has to do: start, read each image, one forward pass.

    python floor.py FOLDER --run RUN [--torch] [--bare]

Without --torch: Python, OpenVINO and the network of a run as it is on disk, as if nothing had to be
converted. With --torch: the network made as `finetune` makes it, with torch, and converted here.
Images are decoded by threads while the network computes, as `finetune` does; with --bare all of
them before: `compute_s` is then what the engine alone takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

AHEAD, CONVERTED = 96, "inference.xml"


def decode(path: Path, side: int) -> np.ndarray:
    """One picture, squeezed to a square: uint8[side,side,3]."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square)


def decoded(paths: list[Path], side: int) -> Iterator[np.ndarray]:
    """Pictures in order, a few ahead of the consumer."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(paths)
        ahead = deque(pool.submit(decode, p, side) for p in itertools.islice(rest, AHEAD))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(decode, p, side) for p in itertools.islice(rest, 1))


def from_run(run: Path) -> tuple[Callable[[np.ndarray], object], int]:
    """The network of a run in OpenVINO, and the side of its input."""
    import openvino  # noqa: PLC0415 - its import is part of what one of the two ways costs

    core = openvino.Core()
    model = core.read_model(run / CONVERTED)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    ready = core.compile_model(model, "CPU", settings)
    return lambda image: ready(image[None])[0], int(model.input(0).shape[1])


def from_torch(images: int) -> tuple[Callable[[np.ndarray], object], int]:
    """The default backbone in `finetune`'s own engine, and the side of its input."""
    import torch  # noqa: PLC0415 - as above

    from finetune.backbones import engine, load, registry  # noqa: PLC0415 - as above

    backbone, facts = load.build(registry.DEFAULT)
    side = facts.preprocess.side_px
    made = engine.make(backbone, torch.device("cpu"), side, images)
    return lambda image: made.forward(image[None]), side


def main() -> None:
    """Pass over all images and print the seconds of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--bare", action="store_true")
    options = parser.parse_args()
    paths = sorted(p for p in options.folder.rglob("*") if p.is_file())
    began = time.perf_counter()
    forward, side = from_torch(len(paths)) if options.torch else from_run(options.run)
    ready = time.perf_counter()
    images = list(decoded(paths, side)) if options.bare else decoded(paths, side)
    start = time.perf_counter()
    for image in images:
        forward(image)
    done = time.perf_counter()
    note = f"engine ready in {ready - began:.2f} s, {len(paths) / (done - start):.1f} images/s"
    print(json.dumps({"note": note, "side_px": side, "compute_s": done - start}))


if __name__ == "__main__":
    main()

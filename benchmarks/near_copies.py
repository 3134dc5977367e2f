"""How near duplicates and other images lie: `near_duplicates.ALIKE` was chosen by it (docs/log.md).

For each data set: the share of copies made here (of up to 80 images, drawn with a fixed seed) that
is recognised, the nearest pairs of different files as they are, and what the looking costs.
`--many N` times the comparing of so many pictures made here: all different, and 24 of each.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from finetune.data import near_duplicates
from finetune.pictures import decoding

SAMPLE = 80
THRESHOLDS = (0.985, 0.99, 0.992, 0.993, 0.994, 0.995, 0.996, 0.998)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """The image at a multiple of its size, at least one pixel a side."""
    width, height = (max(1, int(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def lossless(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def brighter(image: Image.Image, factor: float) -> Image.Image:
    """The image with all values multiplied, and cut off at white."""
    return ImageEnhance.Brightness(image).enhance(factor)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 50": lambda im: encoded(im, 50),
    "JPEG 30": lambda im: encoded(im, 30),
    "half": lambda im: lossless(scaled(im, 0.5)),
    "0.7": lambda im: lossless(scaled(im, 0.7)),
    "double": lambda im: lossless(scaled(im, 2)),
    "+10 %": lambda im: lossless(brighter(im, 1.1)),
    "-10 %": lambda im: lossless(brighter(im, 0.9)),
    "contrast +10 %": lambda im: lossless(ImageEnhance.Contrast(im).enhance(1.1)),
    "half, +10 %, JPEG 60": lambda im: encoded(brighter(scaled(im, 0.5), 1.1), 60),
}


def thumbs(paths: list[Path]) -> near_duplicates.Thumbs:
    """Small pictures of files, uint8[N, 32, 32, 3]."""
    with ThreadPoolExecutor() as pool:
        seen = pool.map(lambda p: decoding.glance(p, near_duplicates.SIDE_PX).thumb, paths)
        return np.stack([t for t in seen if t is not None])


def recognised(paths: list[Path], make: Callable[[Image.Image], bytes], folder: Path) -> float:
    """The share of copies that are called near duplicates of their originals."""
    pairs = []
    for i, path in enumerate(paths):
        copy = folder / f"{i}.img"
        with Image.open(path) as image:
            copy.write_bytes(make(image.convert("RGB")))
        pairs.append(thumbs([path, copy]))
    return float(
        np.mean([len(set(near_duplicates.clusters(pair).tolist())) == 1 for pair in pairs])
    )


def nearest(small: near_duplicates.Thumbs) -> npt.NDArray[np.float32]:
    """Correlations of all pairs above the least threshold."""
    units = near_duplicates._unit(small)
    found = []
    for i in range(0, len(units), 512):
        likeness = np.triu(units[i : i + 512] @ units[i:].T, k=1)
        found.append(likeness[likeness >= THRESHOLDS[0]])
    return np.concatenate(found)


def made(count: int) -> near_duplicates.Thumbs:
    """Pictures of coloured blocks under noise, no two alike."""
    rng = np.random.default_rng(0)
    blocks = rng.normal(128, 50, (count, 4, 4, 3)).clip(0, 255).astype(np.uint8)
    out = blocks.repeat(8, axis=1).repeat(8, axis=2)
    for picture in out:
        picture[:] = (picture + rng.normal(0, 20, picture.shape)).clip(0, 255)
    return out


def many(count: int) -> None:
    """CPU seconds of comparing so many pictures, by how many copies there are of each."""
    order = np.random.default_rng(0).permutation(count)
    for name, small in (
        ("all different", made(count)),
        ("24 of each", made(count // 24 + 1).repeat(24, axis=0)[order]),
        ("all the same", made(1).repeat(count, axis=0)),
    ):
        began = time.process_time()
        clusters = len(set(near_duplicates.clusters(small).tolist()))
        print(f"{count} pictures, {name}: {clusters} families in", end=" ")
        print(f"{time.process_time() - began:.1f} s of CPU", flush=True)


def main() -> None:
    """Print a table row for each folder of `--data`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of data sets")
    parser.add_argument("--many", type=int, help="pictures to be compared for their time")
    asked = parser.parse_args()
    if asked.many:
        many(asked.many)
    if asked.data:
        table(asked.data)


def table(root: Path) -> None:
    """Print a row for each folder."""
    print("| set | n | look s | match s |", *(f"{name} |" for name in COPIES), end=" ")
    print(*(f"pairs from {t} |" for t in THRESHOLDS))
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        paths = sorted(p for p in folder.rglob("*") if p.is_file())
        began = time.perf_counter()
        small = thumbs(paths)
        looked = time.perf_counter()
        near_duplicates.clusters(small)
        matched = time.perf_counter()
        chosen = np.random.default_rng(0).permutation(len(paths))[:SAMPLE]
        with tempfile.TemporaryDirectory() as place:
            some = [paths[i] for i in chosen]
            shares = [recognised(some, make, Path(place)) for make in COPIES.values()]
        pairs = nearest(small)
        cells = [folder.name, len(paths), f"{looked - began:.1f}", f"{matched - looked:.2f}"]
        cells += [f"{share:.0%}" for share in shares]
        cells += [int((pairs >= t).sum()) for t in THRESHOLDS]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()

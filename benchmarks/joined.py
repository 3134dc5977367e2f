"""One data set out of many: their classes side by side, for many classes or very many images.

    python benchmarks/joined.py --data FOLDER_OF_DATA_SETS --out FOLDER [--per-class 20]
    python benchmarks/joined.py --data FOLDER_OF_DATA_SETS --out FOLDER --classes 100 --images 20000

The first form copies images and makes the folders `joined50`, `joined54` and `joined104` that
`regret.py` knows, or `joined104x20` with at most so many of each class. The second makes
`joined100x200`: where a class has fewer images they are followed by changed ones (turned, cut,
other colors), each of another original and by other numbers. What is measured on those is time
and memory: the same picture may be on both sides of a split, so accuracy says nothing.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# Each of the two halves has photographs and drawings, large sets and small ones. `edges16` has ten
# images a class, too few to learn from ten and be tested.
PARTS = {
    "joined50": ("clothing10", "sign_digits10", "clipart8", "mathsym18", "wbc4"),
    "joined54": (
        *("flowers5", "mnist_5k", "spoken_digit_spec10", "omniglot_greek24", "fruit3_tiny"),
        "brain_mri2",
    ),
}
PARTS["joined104"] = PARTS["joined50"] + PARTS["joined54"]


def classes(root: Path, names: tuple[str, ...]) -> dict[str, list[Path]]:
    """The images of each class by name, which begins with that of its data set."""
    return {
        f"{name}_{folder.name}": sorted(p for p in folder.iterdir() if p.is_file())
        for name in names
        for folder in sorted((root / name).iterdir())
        if folder.is_dir()
    }


def join(root: Path, out: Path, names: tuple[str, ...], most: int | None = None) -> None:
    """Copy at most so many images of each class, evenly spread over its names."""
    for name, files in classes(root, names).items():
        (out / name).mkdir(parents=True, exist_ok=True)
        every = 1.0 if most is None else max(1.0, len(files) / most)
        for i in np.arange(0, len(files), every).astype(int)[:most]:
            shutil.copyfile(files[i], out / name / files[i].name)


def enlarge(root: Path, out: Path, count: int, images: int) -> None:
    """The largest classes of all sets, each with as many images: originals, then changed ones."""
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    known = classes(root, names)
    largest = sorted(known, key=lambda name: (-len(known[name]), name))[:count]
    each = images // count
    for number, name in enumerate(sorted(largest)):
        (out / name).mkdir(parents=True, exist_ok=True)
        rng, files = np.random.default_rng(number), known[name]
        for i in range(each):
            file = files[i % len(files)]
            if i < len(files):
                shutil.copyfile(file, out / name / file.name)
            else:
                changed(Image.open(file), rng).save(out / name / f"{i:05d}.jpg", quality=90)


def changed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A picture turned, cut and colored by chance, far enough from its original to be no copy."""
    rgb = ImageOps.exif_transpose(image).convert("RGB")
    angle = float(rng.uniform(5, 25) * rng.choice((-1, 1)))
    rgb = rgb.rotate(angle, Image.Resampling.BICUBIC, fillcolor=rgb.getpixel((0, 0)))
    share = rng.uniform(0.65, 0.9, 2)
    wide, high = (max(8, int(s * side)) for s, side in zip(share, rgb.size, strict=True))
    left, top = (
        int(rng.integers(0, side - v + 1)) for v, side in zip((wide, high), rgb.size, strict=True)
    )
    rgb = rgb.crop((left, top, left + wide, top + high))
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        rgb = enhancer(rgb).enhance(float(rng.uniform(0.6, 1.4)))
    return rgb


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--images", type=int)
    options = parser.parse_args()
    if options.images:
        each = options.images // options.classes
        name = f"joined{options.classes}x{each}"
        enlarge(options.data, options.out / name, options.classes, options.images)
    elif options.per_class:
        name = f"joined104x{options.per_class}"
        join(options.data, options.out / name, PARTS["joined104"], options.per_class)
    else:
        for name, parts in PARTS.items():
            join(options.data, options.out / name, parts)


if __name__ == "__main__":
    main()

"""What one scale for a data set is worth: pictures of 8 bits written as cameras and scanners do.

Each set is written six times over, and a linear probe is trained and tested on each by the command
line, so that another version of the program is measured by giving its folder in PYTHONPATH:

    python benchmarks/scales.py flowers5 sign_digits10 --seeds 2 >>after.csv

The rows are `set;kind;seed;right;images`; `--table before.csv after.csv` makes the table of two
such files.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
PER_CLASS, TESTED = 20, 30
MOST_SIDE = 160


def png_16_bit(colours: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of colour in 16 bits, [H, W, 3], which Pillow does not write."""
    height, width = colours.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def grey(values: Array) -> Array:
    """Luminance of colour in 0 to 1, [H, W, 3] → [H, W] (ITU-R 601)."""
    return values @ np.array([0.299, 0.587, 0.114])


def save_16(values: Array, path: Path) -> None:
    """Grey in 16 bits."""
    Image.fromarray(values.round().astype(np.uint16)).save(path.with_suffix(".png"))


def eight(values: Array, path: Path, _: np.random.Generator) -> None:
    """As it is: what can be reached."""
    Image.fromarray((grey(values) * 255).round().astype(np.uint8)).save(path.with_suffix(".png"))


def full(values: Array, path: Path, _: np.random.Generator) -> None:
    """All 16 bits, one scale."""
    save_16(grey(values) * 65535, path)


def raw(values: Array, path: Path, _: np.random.Generator) -> None:
    """14 bits, one exposure for all."""
    save_16(grey(values) * 16383, path)


def camera(values: Array, path: Path, rng: np.random.Generator) -> None:
    """14 bits, the brightest of each picture evenly from an eighth to all of it."""
    seen = grey(values)
    save_16(seen / seen.max() * 16383 * rng.uniform(0.125, 1), path)


def straddling(values: Array, path: Path, rng: np.random.Generator) -> None:
    """14 bits, the brightest of each picture on either side of 4,095, a usual white."""
    seen = grey(values)
    save_16(seen / seen.max() * rng.uniform(3000, 6000), path)


def exposed(values: Array, path: Path, rng: np.random.Generator) -> None:
    """The same, as often in the lower half of it as in the lower quarter: three stops of light."""
    seen = grey(values)
    save_16(seen / seen.max() * 16383 * 2.0 ** -rng.uniform(0, 3), path)


def thermal(values: Array, path: Path, _: np.random.Generator) -> None:
    """A band of 2,000 values in the middle of 65,536."""
    save_16(29000 + 2000 * grey(values), path)


def bright(values: Array, path: Path, rng: np.random.Generator) -> None:
    """Float in 0 to 1; every other picture has one pixel beyond."""
    seen = grey(values).astype(np.float32)
    if rng.random() < 0.5:
        seen[0, 0] = 1.001
    Image.fromarray(seen).save(path.with_suffix(".tiff"))


def colour_12(values: Array, path: Path, _: np.random.Generator) -> None:
    """Colour of 12 bits in 16."""
    path.with_suffix(".png").write_bytes(png_16_bit((values * 4095).round().astype(np.uint16)))


KINDS: dict[str, Callable[[Array, Path, np.random.Generator], None]] = {
    "8 bits, grey": eight,
    "16 bits, one scale": full,
    "14 bits, one exposure": raw,
    "14 bits, peaks": camera,
    "14 bits, peaks about 4,095": straddling,
    "14 bits, three stops": exposed,
    "narrow band": thermal,
    "float, a bright pixel": bright,
    "12-bit colour": colour_12,
}


def write(source: Path, target: Path, kind: str, seed: int) -> None:
    """Some images of each class, written anew into `train` and `test`."""
    rng, light = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        files = sorted(folder.iterdir())
        chosen = rng.permutation(len(files))[: PER_CLASS + TESTED]
        for i, number in enumerate(chosen):
            place = target / ("train" if i < PER_CLASS else "test") / folder.name
            place.mkdir(parents=True, exist_ok=True)
            with Image.open(files[number]) as image:
                small = image.convert("RGB")
            small.thumbnail((MOST_SIDE, MOST_SIDE))
            KINDS[kind](np.asarray(small) / 255.0, place / f"{i:03d}", light)


def tested(folder: Path, out: Path) -> tuple[int, int]:
    """Right answers and test images of a linear probe."""
    options = ["--strategy", "linear-probe", "--near-duplicates", "ignore", "--json"]
    command = [sys.executable, "-m", "finetune", "train", str(folder), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    test = json.loads(done.stdout)["test"]
    return round(test["accuracy"] * test["n"]), test["n"]


def table(before: Path, after: Path) -> None:
    """Accuracy by set and kind, before and after."""
    found: dict[tuple[str, str], list[list[tuple[int, int]]]] = defaultdict(lambda: [[], []])
    for column, file in enumerate((before, after)):
        for line in file.read_text("utf-8").splitlines():
            name, kind, _, correct, n = line.rsplit(";", 4)
            found[name, kind][column].append((int(correct), int(n)))
    print("| set | written as | before | after |\n| --- | --- | --- | --- |")
    for (name, kind), columns in found.items():
        shares = [f"{100 * sum(r for r, _ in c) / sum(n for _, n in c):.1f}" for c in columns]
        print(f"| `{name}` | {kind} | {' | '.join(shares)} |")


def main() -> None:
    """Measure, or make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--table", nargs=2, type=Path)
    options = parser.parse_args()
    if options.table:
        table(*options.table)
        return
    for source in options.sets:
        for seed in range(options.seeds):
            for kind in KINDS:
                with tempfile.TemporaryDirectory() as place:
                    write(source, Path(place) / "set", kind, seed)
                    correct, n = tested(Path(place) / "set", Path(place) / "run")
                print(source.name, kind, seed, correct, n, sep=";", flush=True)


if __name__ == "__main__":
    main()

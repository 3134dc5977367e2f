"""Promises of the cache's versions: what makes other pixels or features has another number.

`python tests/storage/test_cache_versions.py` writes the golden values anew, once a number was
raised.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from finetune.backbones import engine, load, prepared, registry
from finetune.pictures import decoding
from finetune.records.dataset import Scale

GOLDEN = Path(__file__).parents[1] / "golden.json"
SIDE, CELLS = 32, 4
SCALES = [Scale("16-bit", 0.0, 50_000.0, 1, ""), Scale("float", 0.0, 255.0, 1, "")]
# Another Pillow or another processor may round otherwise; a change of the code changes more.
PIXEL_STEPS, FEATURE_SHARE = 3, 0.02
FORGOTTEN = "raise {}, then write the golden values anew (the top of this file says how)"


def pictures(folder: Path) -> list[Path]:
    """A picture of each kind whose way to pixels is its own."""
    y, x = np.mgrid[0:48, 0:72].astype(np.float64)
    wave = [127 + 120 * np.sin(x / a + y / b) for a, b in ((9, 7), (5, 11), (13, 4))]
    color = Image.fromarray(np.stack(wave, axis=2).astype(np.uint8))
    turned = Image.Exif()
    turned[0x112] = 6
    seen = color.convert("RGBA")
    seen.putalpha(Image.fromarray((x * 3).astype(np.uint8)))
    made = {
        "plain.png": (color, {}),
        "turned.jpg": (color, {"exif": turned, "quality": 90}),
        "ink.jpg": (color.convert("CMYK"), {"quality": 90}),
        "clear.png": (seen, {}),
        "palette.gif": (color.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        "deep.png": (Image.fromarray((wave[0] * 200).astype(np.uint16)), {}),
        "float.tiff": (Image.fromarray(wave[1].astype(np.float32)), {}),
    }
    for name, (picture, how) in made.items():
        picture.save(folder / name, **how)
    return [folder / name for name in made]


def pixels(paths: list[Path]) -> dict[str, list[float]]:
    """Mean colors of the cells of each picture as the network sees it."""
    out = {}
    for path in paths:
        found = decoding.decode(path, SIDE, SCALES).astype(np.float64)
        step = SIDE // CELLS
        cells = found.reshape(CELLS, step, CELLS, step, 3).mean(axis=(1, 3))
        out[path.name] = cells.round(2).ravel().tolist()
    return out


def features(paths: list[Path]) -> dict[str, list[float]]:
    """Some features of each stage of the default backbone, on the first pictures."""
    backbone, _ = load.build(registry.DEFAULT)
    images = np.stack([decoding.decode(path, 64) for path in paths[:3]])
    made = engine.make(backbone, engine.choose_device("cpu")[0], 64, None)
    rows = made.forward(images)
    return {
        stage: rows[:, start : start + 4].astype(float).round(5).ravel().tolist()
        for stage, (start, _) in made.layout.items()
    }


def compared(
    found: dict[str, list[float]], golden: dict[str, list[float]], most: float, share: float
) -> None:
    """Every value is the golden one, but for what rounding does."""
    assert found.keys() == golden.keys()
    for name, values in found.items():
        wanted: npt.NDArray[np.float64] = np.array(golden[name])
        assert np.abs(np.array(values) - wanted).max() <= most + share * np.abs(wanted).max(), name


def test_pixels_are_those_of_their_version(tmp_path: Path) -> None:
    """A change of the code that gives a picture other pixels comes with another number."""
    golden = json.loads(GOLDEN.read_text())

    assert golden["pixels_version"] == decoding.PIXELS_VERSION, FORGOTTEN.format("PIXELS_VERSION")
    compared(pixels(pictures(tmp_path)), golden["pixels"], PIXEL_STEPS, 0)


def test_features_are_those_of_their_version(tmp_path: Path) -> None:
    """A change of the code that gives a picture other features comes with another number."""
    golden = json.loads(GOLDEN.read_text())

    assert golden["features_version"] == prepared.FEATURES_VERSION
    compared(features(pictures(tmp_path)), golden["features"], 1e-4, FEATURE_SHARE)


def test_other_pixels_are_found_out(tmp_path: Path) -> None:
    """A picture a few steps brighter is not taken for the golden one."""
    found = pixels(pictures(tmp_path))
    brighter = {name: [v + 2 * PIXEL_STEPS for v in values] for name, values in found.items()}

    with pytest.raises(AssertionError):
        compared(brighter, found, PIXEL_STEPS, 0)


def write() -> None:
    """Write the golden values of the code as it is."""
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder))
        golden = {
            "pixels_version": decoding.PIXELS_VERSION,
            "features_version": prepared.FEATURES_VERSION,
            "pixels": pixels(paths),
            "features": features(paths),
        }
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    write()

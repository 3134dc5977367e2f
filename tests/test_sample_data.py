"""The sample data is what its script draws, and stays small."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import SAMPLE
from PIL import Image

SCRIPT = SAMPLE.parent / "draw.py"


def load(path: Path) -> ModuleType:
    """The script as a module; it writes beside itself, so a test loads a copy."""
    spec = importlib.util.spec_from_file_location("draw", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "draw", module)  # dataclasses look it up
        spec.loader.exec_module(module)
    return module


def test_there_are_forty_pictures_of_six_trees() -> None:
    """Six classes of forty pictures of 128 pixels, in no more than two megabytes."""
    files = sorted(SAMPLE.rglob("*.*"))

    assert {p.name for p in SAMPLE.iterdir()} == set(load(SCRIPT).TREES)
    assert {len(list(kind.glob("*.jpg"))) for kind in SAMPLE.iterdir()} == {40}
    assert len(files) == 240
    assert sum(p.stat().st_size for p in files) <= 2_000_000
    for file in files[::40]:
        with Image.open(file) as image:
            assert image.size == (128, 128)


def test_drawing_twice_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of the script write the same files, bit for bit, beside itself alone."""
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw = load(Path(shutil.copy(SCRIPT, tmp_path / name)))
        monkeypatch.setattr(draw, "PER_CLASS", 2)
        np.random.seed(len(written))  # no other generator than its own counts
        draw.main()
        files = sorted((tmp_path / name / "leaves").rglob("*.jpg"))
        written.append({p.relative_to(tmp_path / name): p.read_bytes() for p in files})

    assert len(written[0]) == 12
    assert len(set(written[0].values())) == 12
    assert written[0] == written[1]


@pytest.mark.parametrize("number", [0, 39])
@pytest.mark.parametrize("tree", ["maple", "willow"])
def test_the_pictures_are_those_that_the_script_draws(tree: str, number: int) -> None:
    """A picture drawn now is the one that is kept, but for rounding and JPEG's losses."""
    drawn = np.asarray(load(SCRIPT).draw_picture(tree, number), np.float64)

    with Image.open(SAMPLE / tree / f"{number:03d}.jpg") as image:
        kept = np.asarray(image.convert("RGB"), np.float64)

    assert np.abs(drawn - kept).mean() < 12

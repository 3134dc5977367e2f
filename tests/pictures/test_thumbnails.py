"""Promises of thumbnails: small, of what the network sees, never more than there is room for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from helpers import SAMPLE
from PIL import Image

from finetune.pictures import decoding, thumbnails

PATHS = [f"oak/{i:03d}.jpg" for i in range(6)]


def test_a_thumbnail_is_a_small_jpeg_of_the_picture() -> None:
    """Some kilobytes, at most so large, and much like what the network sees."""
    made = thumbnails.of_files(SAMPLE, PATHS, None, 10**6)

    assert list(made) == PATHS
    image = Image.open(io.BytesIO(made[PATHS[0]]))
    assert (image.format, image.size) == ("JPEG", (thumbnails.SIDE_PX,) * 2)
    assert max(map(len, made.values())) < 8000
    seen = decoding.decode(SAMPLE / PATHS[0], thumbnails.SIDE_PX).astype(float)
    assert np.abs(np.asarray(image.convert("RGB"), float) - seen).mean() < 8


def test_there_are_no_more_than_there_is_room_for() -> None:
    """The first ones, as far as the bytes go; one asked for twice is made once."""
    whole = thumbnails.of_files(SAMPLE, PATHS, None, 10**6)
    room = sum(len(whole[p]) for p in PATHS[:3])

    assert list(thumbnails.of_files(SAMPLE, [PATHS[0], *PATHS], None, room)) == PATHS[:3]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """A damaged file and one that is gone cost no other its picture."""
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    Image.new("RGB", (300, 200)).save(tmp_path / "good.png")

    made = thumbnails.of_files(tmp_path, ["bad.jpg", "gone.jpg", "good.png"], None, 10**6)

    assert list(made) == ["good.png"]

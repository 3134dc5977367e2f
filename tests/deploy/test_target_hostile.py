"""Promises: labels and numbers of hostile pictures are finite answers or faults, everywhere."""

from __future__ import annotations

import io
import math
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import served
from target_runs import NAMES

import finetune
from finetune.records.answers import Prediction
from finetune.records.choices import OtherTarget

KINDS: tuple[OtherTarget, ...] = ("labels", "number")


def encoded(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )


def corpus() -> list[tuple[str, bytes, bool]]:
    """Names, bytes, and whether a picture is in them; of the forty damaged by chance who knows."""
    rng = np.random.default_rng(0)
    plain = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65_535, (9, 9), dtype=np.uint16))
    jpeg, png = encoded(plain, "JPEG"), encoded(plain, "PNG")
    found = [
        ("plain.jpg", jpeg, True),
        ("cmyk.jpg", encoded(plain.convert("CMYK"), "JPEG"), True),
        ("one.png", encoded(plain.crop((0, 0, 1, 1)), "PNG"), True),
        ("thin.png", encoded(plain.resize((1, 3000)), "PNG"), True),
        ("clear.png", encoded(Image.new("RGBA", (9, 9)), "PNG"), True),
        ("deep.png", encoded(deep, "PNG"), True),
        ("palette.gif", encoded(plain.convert("P"), "GIF"), True),
        ("wrong-name.bmp", png, True),
        ("white\u202e\x1b[2J.png", png, True),
        ("empty.png", b"", False),
        ("text.png", b"<svg onload='alert(1)'/>", False),
        ("cut.jpg", jpeg[:200], False),
        ("bomb.png", bomb(), False),
        ("zeros.tif", b"II*\0" + bytes(300), False),
    ]
    chance = random.Random(0)
    for i in range(40):
        content = bytearray(chance.choice((jpeg, png)))
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        found.append((f"chance{i}.png", bytes(content), False))
    return found


def require_finite(kind: OtherTarget, answer: Prediction) -> None:
    """Every label with a probability, or a number and how near it is."""
    if kind == "labels":
        assert [row.label for row in answer.labels or ()] == list(NAMES[kind])
        assert all(0 <= row.probability <= 1 for row in answer.labels or ())
    else:
        assert answer.value is not None
        assert math.isfinite(answer.value)
        assert answer.within == 7.5
    assert answer.label is None


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_pictures_are_answered_or_refused(
    target_runs: dict[str, Path], tmp_path: Path, kind: OtherTarget
) -> None:
    """By `load().predict` as records, by `serve` as 200 or 400; the server goes on."""
    files = corpus()
    paths = []
    for number, (_, content, _) in enumerate(files):
        paths.append(tmp_path / f"{number:02d}.img")
        paths[-1].write_bytes(content)

    answers = finetune.load(target_runs[kind]).predict(paths)

    assert len(answers) == len(files)
    for (name, _, good), answer in zip(files, answers, strict=True):
        assert answer.error is None or not good, name
        if answer.error is None:
            require_finite(kind, answer)
        else:
            assert answer.value is None
            assert answer.labels is None
            assert answer.error.isprintable()
        assert good or answer.error is not None or name.startswith("chance"), name
    with served(target_runs[kind]) as (client, _):
        for (name, content, _), answer in zip(files, answers, strict=True):
            told = client.post("/predict", files=[("image", (name, content))])
            assert told.status_code == (200 if answer.error is None else 400), name
            if answer.error is not None:
                assert told.json()["error"].isprintable()
                continue
            (one,) = told.json()["predictions"]
            if kind == "number":
                assert one["value"] == pytest.approx(answer.value, abs=1e-3)
            else:
                found = [row["probability"] for row in one["labels"]]
                expected = [row.probability for row in answer.labels or ()]
                assert found == pytest.approx(expected, abs=1e-4)
        assert client.get("/health").status_code == 200

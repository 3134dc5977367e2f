"""Promises of `finetune.pictures.file_kinds`: what a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.pictures import decoding, file_kinds
from finetune.records.errors import ImageError

TIMES = b"\0\0\0\x18ftyp%b\0\0\0\0mif1miaf"
OTHERS = {
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "a web page": b"\n<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>",
    "a web page, ": b"<HTML><HEAD><TITLE>Not found</TITLE>",
    "an XML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a JSON text": b'{"error": "not found"}',
    "a text": b"404: not found\n",
    "pillow-heif": TIMES % b"heic",
    "CR3": TIMES % b"crx ",
    "a video": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2",
    "DICOM": bytes(128) + b"DICM" + bytes(40),
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "JPEG XL": b"\xff\x0a" + bytes(range(40)),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "PDF": b"%PDF-1.7\n",
    "zip": b"PK\3\4" + bytes(40),
    "NumPy": b"\x93NUMPY\1\0v\0{'descr'",
    "all zeros": bytes(4000),
    "it is empty": b"",
}


@pytest.mark.parametrize("words", OTHERS)
def test_a_file_that_is_no_picture_is_called_what_it_is(tmp_path: Path, words: str) -> None:
    """Under whatever name, the reason says what the file is."""
    path = tmp_path / "x.jpg"
    path.write_bytes(OTHERS[words])

    with pytest.raises(ImageError) as caught:
        decoding.decode(path, 8)

    assert words in caught.value.reason


def test_what_nothing_is_known_of_is_called_unknown(tmp_path: Path) -> None:
    """Bytes of no kind are claimed to be none."""
    path = tmp_path / "x.jpg"
    path.write_bytes(bytes(range(128, 256)) * 4)

    with pytest.raises(ImageError, match="not an image of a known format"):
        decoding.decode(path, 8)


def test_the_suffixes_are_the_decoders() -> None:
    """What Pillow's plug-ins call their files; none of a format that is not opened."""
    known = file_kinds.suffixes()

    assert {".jpg", ".mpo", ".png", ".apng", ".jp2", ".j2k", ".jpf", ".pnm", ".pfm"} <= known
    assert {".dib", ".tif", ".webp", ".ico"} <= known
    assert not {".eps", ".psd", ".pdf", ".txt", ".mp4"} & known


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".dib", ".apng", ".pnm", ".mpo", ".pfm"])
def test_each_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    """A picture saved under one of them is a picture."""
    mode = "F" if suffix == ".pfm" else "RGB"
    path = tmp_path / f"x{suffix}"
    Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode).save(path)

    assert path.suffix in file_kinds.suffixes()
    assert decoding.decode(path, 8).min() > 250


def test_first_bytes_tell_pictures_from_other_files(tmp_path: Path) -> None:
    """What is read and what is a picture of another kind; no text, table or film."""
    for name in ("jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "ico", "jp2"):
        path = tmp_path / f"x.{name}"
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
        assert file_kinds.is_picture(file_kinds.head(path)), name

    assert all(file_kinds.is_picture(OTHERS[w]) for w in ("pillow-heif", "Photoshop", "SVG", "CR2"))
    for words in ("a web page", "a JSON text", "a text", "a video", "PDF", "zip", "NumPy"):
        assert not file_kinds.is_picture(OTHERS[words]), words
    assert not file_kinds.is_picture(b"BMI,weight\n20,70\n")
    assert not file_kinds.is_picture(b"")


@pytest.mark.parametrize("kind", ["AVIF", "PPM"])
def test_a_damaged_picture_of_a_kind_that_is_read_is_damaged(tmp_path: Path, kind: str) -> None:
    """Its first bytes are no reason: they are those of a picture that would be read."""
    if kind not in file_kinds.load():
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "x.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, format=kind)
    start = path.read_bytes()[:40] if kind == "AVIF" else b"P3 16 16 255\n1 2 3\n"
    path.write_bytes(start)

    with pytest.raises(ImageError) as caught:
        decoding.decode(path, 8)

    assert not any(words in caught.value.reason for words in ("Pillow", "a text", "picture:"))

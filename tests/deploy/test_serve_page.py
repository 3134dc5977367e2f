"""Promises of the served page in a real browser, and of uploads that mean harm."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as chromium
import httpx
import numpy as np
import pytest
from helpers import small_run
from PIL import Image
from served import LEAVES, dropped, fields, served

import finetune
from finetune.records.run import RunResult

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "ICO")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an inference file."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[httpx.Client]:
    """A client of a server that all tests share."""
    with served(run) as (found, _):
        yield found


@pytest.mark.parametrize("width", chromium.WIDTHS)
def test_a_dropped_picture_shows_its_classes(
    browser: Any, client: httpx.Client, run: Path, width: int
) -> None:
    """The likeliest classes as predict has them, on a telephone too; nothing else is asked for."""
    (expected,) = finetune.load(run).predict([LEAVES[0]], top=5)
    own = str(client.base_url)

    with chromium.visiting(browser, own, width=width) as visit:
        dropped(visit, ("leaf.jpg", "image/jpeg", LEAVES[0].read_bytes()))
        answer = visit.page.locator("#answers .answer").first
        answer.locator("h2").wait_for(timeout=20_000)
        text = answer.inner_text()

        assert str(expected.label) in text
        for one in expected.top:
            assert f"{one.label} {100 * one.probability:.1f} %" in text
        assert answer.locator("img").first.evaluate("image => image.naturalWidth") > 0
        assert visit.overflow_px() <= 0
        assert visit.faults() == []
        assert visit.complaints == []
        assert any(address.endswith("/predict?heat=true") for address in visit.asked)
        assert [address for address in visit.asked if not address.startswith(own)] == []


@pytest.mark.parametrize("width", chromium.WIDTHS)
def test_a_dropped_picture_shows_its_heat_map(
    browser: Any, leaves_run: tuple[RunResult, Path], width: int
) -> None:
    """Beside the picture, with words for those who do not see it; nothing of it is fetched."""
    _, run = leaves_run
    with (
        served(run) as (client, _),
        chromium.visiting(browser, str(client.base_url), width=width) as visit,
    ):
        dropped(visit, ("leaf.jpg", "image/jpeg", LEAVES[0].read_bytes()))
        answer = visit.page.locator("#answers .answer").first
        heat = answer.locator("img.heat")
        heat.wait_for(timeout=20_000)

        assert heat.evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
        label = answer.locator("h2").inner_text().split(" (")[0]
        assert label in (heat.get_attribute("alt") or "")
        assert "% of it lies in the frame" in answer.inner_text()
        assert visit.overflow_px() <= 0
        assert visit.faults() == []
        assert visit.complaints == []


def test_a_chosen_file_and_a_bad_one_each_get_their_answer(
    browser: Any, client: httpx.Client
) -> None:
    """Of two files at once the good one has classes, the other our error text."""
    with chromium.visiting(browser, str(client.base_url), width=400) as visit:
        good = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": LEAVES[1].read_bytes()}
        bad = {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}
        visit.page.locator("#files").set_input_files([good, bad])
        visit.page.locator("#answers h2").wait_for(timeout=20_000)
        visit.page.locator("#answers .fault").wait_for(timeout=20_000)

        assert "it is a text, not a picture" in visit.page.locator("#answers .fault").inner_text()
        assert visit.overflow_px() <= 0


def test_the_page_of_documents_is_whole(browser: Any, client: httpx.Client) -> None:
    """`/docs` fits a telephone, asks for nothing and has no dead link."""
    with chromium.visiting(browser, f"{client.base_url}/docs", width=400) as visit:
        assert visit.overflow_px() <= 0
        assert visit.faults() == []
        assert visit.dead_links() == []
        assert visit.complaints == []
        assert visit.asked == []


def test_no_upload_brings_the_server_down(client: httpx.Client) -> None:
    """Every hostile picture is answered or refused in our words, never a 5xx; then it still works.

    Bombs, cut-off, damaged, made-up and mislabelled files, alone and beside a good one.
    """
    before = client.post("/predict", files=fields(LEAVES[0])).json()
    codes: dict[int, int] = {}

    for name, content in hostile():
        upload = ("image", (name, content))
        for files in ([upload], [upload, *fields(LEAVES[0])]):
            response = client.post("/predict", files=files)
            assert response.status_code in (200, 400, 413), (name, response.text)
            told = response.json()
            assert "predictions" in told or (told["error"].isprintable() and told["hint"]), name
            codes[response.status_code] = codes.get(response.status_code, 0) + 1

    assert client.post("/predict", files=fields(LEAVES[0])).json() == before
    assert client.get("/health").status_code == 200
    assert codes[400] > 100
    assert codes[200] > 50  # a flipped bit may leave a picture


def hostile() -> Iterator[tuple[str, bytes]]:
    """Names and bytes of uploads that mean harm; always the same."""
    yield from made_up()
    rng = np.random.default_rng(0)
    for kind in FORMATS:
        pixels = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
        whole = io.BytesIO()
        Image.fromarray(pixels).save(whole, kind)
        content = whole.getvalue()
        yield f"cut.{kind}", content[: len(content) // 2]
        for number in range(8):
            edited = bytearray(content)
            for at in rng.integers(0, len(edited) if number % 2 else 128, 3) % len(edited):
                edited[at] = rng.integers(0, 256)
            yield f"{number}.{kind}", bytes(edited)
        for number in (0x7FFFFFFF, 0xFFFFFFFF, 0):  # extreme sizes in the head
            edited = bytearray(content)
            at = int(rng.integers(2, 40))
            edited[at : at + 4] = number.to_bytes(4, "little")
            yield f"{number:x}.{kind}", bytes(edited)


def made_up() -> Iterator[tuple[str, bytes]]:
    """Files made to hurt one reader or another."""
    yield "empty.jpg", b""
    yield "zeros.png", bytes(1_000_000)
    yield "text.jpg", b"no picture"
    yield "page.jpg", b"<!doctype html><script>alert(1)</script>"
    yield "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) run\n"
    yield "../../../../etc/passwd", b"root:x:0:0"
    yield "a\x1b[2J\u202ejpg.exe", b"MZ\x90\x00"
    yield "n" * 5_000 + ".jpg", b"\xff\xd8\xff"
    yield "archive.jpg", b"PK\x03\x04" + bytes(60)
    for name, size in (("bomb", 60_000), ("wide", 2**31 - 1), ("none", 0)):
        head = size.to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
        chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(300_000))), (b"IEND", b"")]
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            len(body).to_bytes(4, "big") + tag + body + zlib.crc32(tag + body).to_bytes(4, "big")
            for tag, body in chunks
        )
        yield f"{name}.png", png
    for width, height in ((65_535, 65_535), (1, 65_535)):
        gif = io.BytesIO()
        Image.new("P", (1, 1)).save(gif, "GIF")
        content = bytearray(gif.getvalue())
        content[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        yield f"{width}.gif", bytes(content)
    frames = io.BytesIO()
    many = [Image.new("P", (16, 16), number) for number in range(200)]
    many[0].save(frames, "GIF", save_all=True, append_images=many[1:])
    yield "frames.gif", frames.getvalue()
    exif = io.BytesIO()
    Image.new("RGB", (9, 9)).save(exif, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" * 50)
    yield "exif.jpg", exif.getvalue()

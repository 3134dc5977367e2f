"""A picture's bytes without what is not picture: tried where the file as it stands is not read.

Texts, profiles and check sums say nothing of the pixels. So chunks that no decoder needs are left
out, and what lacks only its very end gets one. Nothing is written, and no switch of Pillow's is
touched: its `LOAD_TRUNCATED_IMAGES` and limits on texts would hold for every thread and user.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

MOST_BYTES = 2**28  # a file is copied once or twice in memory
# Of the picture that may be missing at its end: less than what a crop for training takes away.
MOST_MISSING = 0.05
_PNG = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf")
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's kind of colour
_PLAIN = (b"BM", b"P5", b"P6")  # BMP, grey and colour of the PPM family
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
MAGICS = (_PNG, _SOI, b"RIFF", *_PLAIN)  # how files begin that may be helped
# Markers without a length: padding, restart marks, start of image (ITU T.81, table B.1).
_BARE = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}
_SOS, _END, _DHT, _JPG, _DAC = 0xDA, 0xD9, 0xC4, 0xC8, 0xCC
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, _JPG, _DAC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_GREY = (127, 128)  # what libjpeg leaves where there is no data, as it is or inverted (CMYK)


def mended(content: bytes) -> bytes | None:
    """The same picture without its metadata; None for kinds or damage that cannot be helped."""
    if len(content) > MOST_BYTES:
        return None
    ways = ((_PNG, _png), (_SOI, _jpeg), (b"RIFF", _webp), (_PLAIN, _rows))
    way = next((way for magic, way in ways if content.startswith(magic)), None)
    try:
        return None if way is None else way(content)
    except (struct.error, zlib.error, LookupError, ValueError):
        return None


def missing(image: Image.Image) -> float:
    """The share of a mended JPEG's pixels, 0 to 1, for which there was no data.

    libjpeg leaves them grey. They are counted from the first row of blocks in which there are any
    to the end, whose last rows are all of them grey.
    """
    if image.format not in ("JPEG", "MPO"):
        return 0.0
    pixels = np.asarray(image)
    flat = np.isin(pixels, _GREY)
    grey: npt.NDArray[np.bool_] = flat if flat.ndim == 2 else np.all(flat, axis=2)
    rows = np.flatnonzero(~grey.all(axis=1))
    whole = int(rows[-1]) + 1 if len(rows) else 0
    # in the row of blocks above it, those at the right end may be missing too
    part = grey[max(0, whole - 16) : whole]
    right = 0 if not part.size else int(np.cumprod(part[:, ::-1], axis=1).sum())
    return (grey[whole:].size + right) / grey.size


def _png(content: bytes) -> bytes | None:
    """Header, colours and pixels with new check sums.

    The check sum of a chunk tells nothing that the one inside the packed pixels (Adler-32) does not
    tell better: where that one holds, the pixels are what was written.
    """
    kept, packed = [], []
    for name, data in _chunks(content):
        if name == b"IDAT":
            packed.append(data)
        elif name in _NEEDED:
            kept.append((name, data))
    head = dict(kept)[b"IHDR"]
    pixels = _pixels(head, b"".join(packed))
    if pixels is None:
        return None
    before = [(n, d) for n, d in kept if n != b"eXIf"]
    after = [(n, d) for n, d in kept if n == b"eXIf"]
    parts = [*before, (b"IDAT", pixels), *after, (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each chunk, the last one perhaps cut short."""
    at = len(_PNG)
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        yield name, content[at + 8 : at + 8 + size]
        at += 12 + size


def _pixels(head: bytes, packed: bytes) -> bytes | None:
    """The packed pixels, whole; None where they are damaged or a good part of them is missing."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[:13])
    if interlaced:  # the end of the stream proves them
        unpack = zlib.decompressobj()
        for start in range(0, len(packed), 2**16):
            rest = packed[start : start + 2**16]
            while rest:
                unpack.decompress(rest, 2**24)
                rest = unpack.unconsumed_tail
        return packed if unpack.eof else None
    row = 1 + (width * bits * _SAMPLES[colour] + 7) // 8
    if not 0 < row * height <= 2**30:
        return None
    unpack = zlib.decompressobj()
    raw = unpack.decompress(packed, row * height)
    if len(raw) == row * height:
        # what the end says, where it is there, has to hold: a wrong sum raises
        unpack.decompress(unpack.unconsumed_tail, 1)
    elif len(raw) < (1 - MOST_MISSING) * row * height:
        return None
    # filter 2 is "as the row above" (PNG, section 9): what is missing goes on as the last whole row
    whole = len(raw) // row
    filled = raw[: whole * row] + (height - whole) * (b"\2" + bytes(row - 1))
    return zlib.compress(filled, 1)


def _jpeg(content: bytes) -> bytes | None:
    """The tables, frame and scans; of the rest only what tells colours and which way is up."""
    out, frame, scan, ended = [_SOI], b"", b"", False
    for marker, segment, rest in _segments(content):
        ended = marker == _END
        if ended:
            break
        if _is_wanted(marker, segment):
            out += [segment, rest]
        if marker in _FRAMES:
            frame = segment
        if marker == _SOS:
            scan = segment
    if not scan or not frame:
        return None
    if frame[1] in _PROGRESSIVE and not ended and not _is_last_scan(scan, frame[10]):
        return None
    return b"".join([*out, _EOI])


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, segment, and the packed pixels after it, of each segment; what is no segment goes."""
    at = 2
    while at >= 0 and at + 4 <= len(content):
        marker = content[at + 1]
        if content[at] != 0xFF or marker in _BARE:
            at = content.find(b"\xff", at + 1)
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        stop = _scan_end(content, end) if marker == _SOS else end
        yield marker, content[at:end], content[end:stop]
        at = stop
    if content[at : at + 2] == _EOI:
        yield _END, _EOI, b""


def _is_wanted(marker: int, segment: bytes) -> bool:
    if marker == 0xE1:
        return segment[4:10] == b"Exif\0\0"
    if marker == 0xE0:
        return segment[4:9] == b"JFIF\0" and len(segment) >= 16
    if marker == 0xEE:
        return segment[4:9] == b"Adobe" and len(segment) >= 16
    return not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _scan_end(content: bytes, at: int) -> int:
    """Where a scan ends: at the next marker that is no restart mark and no escaped 0xFF."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 1 >= len(content):
            return len(content) if at < 0 else at
        marker = content[at + 1]
        if marker == 0 or 0xD0 <= marker <= 0xD7:
            at += 2
        elif marker == 0xFF:
            at += 1
        else:
            return at


def _is_last_scan(scan: bytes, first: int) -> bool:
    """Is it the one that refines the brightness last? Cut off there, every pixel is known."""
    parts = scan[4]
    names = [scan[5 + 2 * i] for i in range(parts)]
    _, stop, bits = scan[5 + 2 * parts : 8 + 2 * parts]
    return first in names and stop == 63 and bits & 15 == 0


def _rows(content: bytes) -> bytes:
    """Plain rows to the last: those at the end are black, and what is too much is not read."""
    return content + bytes(int(MOST_MISSING * len(content)))


def _webp(content: bytes) -> bytes:
    """The chunks without texts and profiles, and the sizes as they are."""
    out, at = [b"WEBP"], 12
    while at + 8 <= len(content):
        name, size = struct.unpack("<4sI", content[at : at + 8])
        data = content[at + 8 : at + 8 + size]
        if name == b"VP8X":
            # its flags say which of the chunks left out here are there (RFC 9649, section 2.7)
            data = bytes([data[0] & ~0b00100100]) + data[1:]
        if name not in (b"XMP ", b"ICCP"):
            out.append(struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2))
        at += 8 + size + size % 2
    body = b"".join(out)
    return b"RIFF" + struct.pack("<I", len(body)) + body

"""What a file is by its first bytes: a picture read here, one of another kind, or no picture."""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# What is opened, whatever a file's suffix says. Pillow knows forty more, some of which start other
# programs (EPS runs Ghostscript); of those here none does. MPO is a JPEG with more behind it.
FORMATS = (
    *("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO"),
)
_PLUGINS = (*("Jpeg", "Mpo", "Png", "Bmp", "Gif", "WebP", "Tiff", "Ppm", "Avif", "Jpeg2K", "Ico"),)
# Pictures too, but of kinds that Pillow alone does not read: leaving them out is no detail.
FOREIGN_SUFFIXES = frozenset(
    {
        *(
            ".heic",
            ".heif",
            ".hif",
            ".jxl",
            ".psd",
            ".psb",
            ".svg",
            ".eps",
            ".dcm",
            ".dicom",
            ".exr",
            ".hdr",
        ),
        *(".xcf", ".tga", ".pcx", ".sgi", ".fits"),
        *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef"),
    }
)
_RAW = re.compile(r"\.(raw|dng|cr[23w]|nef|arw|orf|rw2|raf|pef)")
HEAD_BYTES = 512
CONVERT = "convert it to JPEG or PNG"


@dataclass(frozen=True)
class Kind:
    """What a file that is not read is: in words, what to do, and whether it is a picture."""

    what: str
    advice: str
    picture: bool = False

    @property
    def reason(self) -> str:
        """Both, as the reason why an image cannot be read."""
        return f"it is {self.what}: {self.advice}" if self.advice else f"it is {self.what}"


_DEVELOP = "develop it to JPEG or to a 16-bit TIFF"
HEIC = Kind(
    "a HEIC picture", f"install pillow-heif, with which it is read, or {CONVERT}", picture=True
)
DICOM = Kind(
    "a DICOM file",
    f"install pydicom, with which it is read (pip install 'finetune[dicom]'), or {CONVERT}",
    picture=True,
)
POINTER = Kind("a Git LFS pointer, not the picture", "run `git lfs pull`")
# (first byte, what stands there, what it is): by magic numbers, as `file` knows them.
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"version https://git-lfs", POINTER),
    (0, b"8BPS", Kind("a Photoshop file", CONVERT, picture=True)),
    (0, b"\xff\x0a", Kind("a JPEG XL picture", CONVERT, picture=True)),
    (4, b"JXL \r\n", Kind("a JPEG XL picture", CONVERT, picture=True)),
    (128, b"DICM", DICOM),
    (0, b"\x76\x2f\x31\x01", Kind("an OpenEXR picture", CONVERT, picture=True)),
    (0, b"#?RADIANCE", Kind("a Radiance HDR picture", CONVERT, picture=True)),
    (0, b"#?RGBE", Kind("a Radiance HDR picture", CONVERT, picture=True)),
    (0, b"FUJIFILMCCD-RAW", Kind("a camera's raw file (RAF)", _DEVELOP, picture=True)),
    (0, b"IIRO", Kind("a camera's raw file (ORF)", _DEVELOP, picture=True)),
    (0, b"IIU\x00", Kind("a camera's raw file (RW2)", _DEVELOP, picture=True)),
    (6, b"HEAPCCDR", Kind("a camera's raw file (CRW)", _DEVELOP, picture=True)),
    (8, b"CR\x02", Kind("a camera's raw file (CR2)", _DEVELOP, picture=True)),
    (0, b"%!PS", Kind("a PostScript file", CONVERT, picture=True)),
    (0, b"\xc5\xd0\xd3\xc6", Kind("a PostScript file", CONVERT, picture=True)),
    (0, b"gimp xcf", Kind("a GIMP file", CONVERT, picture=True)),
    (0, b"SIMPLE  =", Kind("a FITS file", CONVERT, picture=True)),
    (0, b"\x93NUMPY", Kind("a NumPy array", "save it as PNG or TIFF")),
    (0, b"\x89HDF\r\n", Kind("an HDF5 file", "save its pictures as PNG or TIFF")),
    (0, b"%PDF", Kind("a PDF document", "save its pages as PNG")),
    (0, b"PK\x03\x04", Kind("a zip archive", "unpack it")),
    (0, b"PK\x05\x06", Kind("a zip archive", "unpack it")),
    (0, b"\x1f\x8b", Kind("a gzip archive", "unpack it")),
    (0, b"7z\xbc\xaf", Kind("a 7z archive", "unpack it")),
    (0, b"Rar!", Kind("a rar archive", "unpack it")),
    (257, b"ustar", Kind("a tar archive", "unpack it")),
    (0, b"\x1a\x45\xdf\xa3", Kind("a video (Matroska or WebM)", "save its frames as JPEG")),
    (8, b"AVI ", Kind("a video (AVI)", "save its frames as JPEG")),
    (0, b"\x00\x00\x01\xba", Kind("a video (MPEG)", "save its frames as JPEG")),
    (0, b"FLV\x01", Kind("a video (FLV)", "save its frames as JPEG")),
    (0, b"OggS", Kind("sound or video (Ogg)", "save its frames as JPEG")),
    (8, b"WAVE", Kind("sound (WAV)", "")),
    (0, b"ID3", Kind("sound (MP3)", "")),
    (0, b"SQLite format 3", Kind("a database (SQLite)", "")),
    (0, b"\x7fELF", Kind("a program", "")),
    (0, b"bplist0", Kind("a property list, not a picture", "")),
    (0, b"\x00\x05\x16\x07", Kind("what a Mac keeps beside a picture (AppleDouble)", "remove it")),
)
# Brands of the ISO media family (ISO/IEC 14496-12, 23008-12), by the word after `ftyp`.
AVIF = Kind("an AVIF picture", f"update Pillow to 11.3 or later, or {CONVERT}", picture=True)
_BRANDS: dict[bytes, Kind] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": Kind("a camera's raw file (CR3)", _DEVELOP, picture=True),
}
_VIDEO = Kind("a video (MP4 or QuickTime)", "save its frames as JPEG")
# Heads of what is read here. Short ones (BMP, PBM) would be found in texts: more is asked of these.
_READ = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\x00|MM\x00[*+]|\xff\x4f\xff\x51"
    rb"|\x00\x00\x00\x0cjP  |P[1-6Ff]\s|BM.{4}\x00\x00\x00\x00|\x00\x00\x01\x00[\x01-\x40]\x00",
    re.DOTALL,
)
_FAILED = "the download failed; fetch it again"
_FLAGS = re.DOTALL | re.IGNORECASE
_TEXTS: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (re.compile(rb"\0+\Z"), Kind("all zeros", "the download or copy failed; fetch it again")),
    (re.compile(rb"\xff\xfe|\xfe\xff", re.DOTALL), Kind("a text, not a picture", "")),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<.*?<svg[\s>]|(\xef\xbb\xbf)?\s*<svg[\s>]", _FLAGS),
        Kind("an SVG drawing", "convert it to PNG", picture=True),
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<.*?(!doctype html|html|head|body|script)\b", _FLAGS),
        Kind("a web page, not a picture", _FAILED),
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|[a-z])", _FLAGS),
        Kind("an XML text, not a picture", _FAILED),
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*[{\[]\s*([\"{\[\]}]|[0-9-])", _FLAGS),
        Kind("a JSON text, not a picture", _FAILED),
    ),
)


@functools.cache
def load() -> tuple[str, ...]:
    """Bring in the decoders of `FORMATS`, and HEIC's where pillow-heif is installed.

    Returns:
        The formats that can be opened; older versions of Pillow have no AVIF.
    """
    for plugin in _PLUGINS:
        with_it = f"PIL.{plugin}ImagePlugin"
        if importlib.util.find_spec(with_it) is not None:
            importlib.import_module(with_it)
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        heif = importlib.import_module("pillow_heif")
        heif.register_heif_opener()
        formats.append("HEIF")
    except Exception:  # not installed, or broken, or of another Pillow: HEIC is refused by name
        pass
    return tuple(formats)


@functools.cache
def suffixes() -> frozenset[str]:
    """What files of `FORMATS` are called: a first filter, decoding is the proof."""
    formats = {*load(), "MPO"}
    found = {s for s, name in Image.registered_extensions().items() if name in formats}
    if importlib.util.find_spec("pydicom") is not None:
        found |= {".dcm", ".dicom"}
    return frozenset(found)


def is_foreign(path: Path) -> bool:
    """Is the file called like a picture of a kind that is not read?"""
    suffix = path.suffix.lower()
    return suffix in FOREIGN_SUFFIXES and suffix not in suffixes()


def foreign(path: Path) -> str:
    """That a picture is of a kind which is not read, and what to do; empty for other suffixes."""
    if not is_foreign(path):
        return ""
    kind = of(head(path))
    if kind is not None and kind.advice:
        return kind.reason
    suffix = path.suffix.lower()
    if suffix in (".heic", ".heif", ".hif"):
        return "HEIC is a format that is not read here; convert it to JPEG, or install pillow-heif"
    if _RAW.fullmatch(suffix):
        return Kind(f"a camera's raw file ({suffix[1:].upper()})", _DEVELOP).reason
    return f"{suffix[1:].upper()} is a format that is not read here; convert it to JPEG"


def head(path: Path) -> bytes:
    """The first bytes; none where it is no file (a pipe would be waited for) or cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def is_picture(start: bytes) -> bool:
    """Do the first bytes say that it is a picture, be it read here or not?"""
    kind = of(start)
    known = start[4:8] == b"ftyp" and kind is None
    return known or bool(_READ.match(start)) or (kind is not None and kind.picture)


def of(start: bytes) -> Kind | None:
    """What a file that no decoder takes is by its first bytes; None where they say nothing.

    None as well of what is read here: where that fails, it is damaged.
    """
    for place, magic, kind in _MAGIC:
        if start[place : place + len(magic)] == magic:
            return kind
    if start[4:8] == b"ftyp":
        brands = (start[8:12], *(start[i : i + 4] for i in range(16, 40, 4)))
        kind = next((_BRANDS[brand] for brand in brands if brand in _BRANDS), _VIDEO)
        known = {"HEIF": HEIC, "AVIF": AVIF}
        return None if kind in [known.get(name) for name in load()] else kind
    return None if _READ.match(start) else _text(start)


def _text(start: bytes) -> Kind | None:
    """What kind of text it is; None where it is no text."""
    for pattern, kind in _TEXTS:
        if pattern.match(start):
            return kind
    # the last letter may be cut in the middle
    text = start.decode(errors="replace").removesuffix("\ufffd")
    plain = text and all(c.isspace() or (c.isprintable() and c != "\ufffd") for c in text)
    return Kind("a text, not a picture", "") if plain else None

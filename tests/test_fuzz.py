"""Damaged and made-up input of every kind: a fault that is told, or an answer; nothing else.

Each test runs quickly with every suite, and with thousands of inputs under `-m slow`: together more
than 20,000. What they found stands as ordinary tests beside the code that was at fault.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import string
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from examples import CLASSES
from helpers import Recorder, small_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from finetune.backbones import inference, load, registry
from finetune.cli import process
from finetune.pictures import decoding
from finetune.records import option_table
from finetune.records.errors import BackboneError, FinetuneError, ImageError, RunError
from finetune.runs import listing, run_folder
from finetune.workflows import predict

SIDE = 32
MOST_SECONDS = 5.0


def sizes(quick: int, slow: int) -> pytest.MarkDecorator:
    """Few examples in every run, many under `-m slow`."""
    return pytest.mark.parametrize(
        "examples", [quick, pytest.param(slow, marks=pytest.mark.slow)], ids=["quick", "slow"]
    )


def trying(
    examples: int, **inputs: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], None]:
    """Run a check on so many inputs, each within a few seconds."""

    def decorate(check: Callable[..., None]) -> None:
        count = 0

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(**inputs)
        def timed(**drawn: Any) -> None:
            nonlocal count
            began = time.perf_counter()
            check(**drawn)
            count += 1
            assert time.perf_counter() - began < MOST_SECONDS

        timed()
        assert count >= examples

    return decorate


@pytest.fixture(autouse=True)
def _nothing_is_said(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Neither Python's logging nor a library in C writes to the terminal behind our back.

    Left out are tests of commands, which look at what is written themselves, and libtiff: it has a
    line for each damaged file, which Pillow gives no way to switch off.
    """
    passed_over = "run_cli" in request.fixturenames or "TIFF" in request.node.name
    written = None if passed_over else request.getfixturevalue("capfd")
    process.quieten()
    yield
    said = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
    assert said == []
    assert written is None or written.readouterr().err == ""


# --- damage ---------------------------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "flip", "cut", "insert", "drop", "move", "number"]),
        st.integers(0, 2**20),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def damaged(content: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    """Bytes flipped, cut off, put in, taken out, copied elsewhere, or made an extreme number."""
    out = bytearray(content)
    for kind, first, second, some in edits:
        at = first % max(1, len(out))
        # half of the edits go where formats keep what they say of themselves
        at = at % 128 if second % 2 else at
        if kind == "flip":
            out[at : at + 1] = some[:1]
        elif kind == "cut":
            del out[at:]
        elif kind == "insert":
            out[at:at] = some * (1 + second % 50)
        elif kind == "drop":
            del out[at : at + 1 + second % 200]
        elif kind == "move":
            start = second % max(1, len(out))
            out[at : at + 64] = out[start : start + 64]
        else:
            size = 1 + second % 4
            number = NUMBERS[first % len(NUMBERS)] & (256**size - 1)
            out[at : at + size] = number.to_bytes(size, "big" if second % 3 else "little")
    return bytes(out)


def well_told(error: FinetuneError, path: Path) -> None:
    """One line with the path, and something to try."""
    assert str(path) in error.message
    assert "\n" not in error.message
    assert error.hint


# --- images ---------------------------------------------------------------------------------------


def encoded(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture with structure in it."""
    y, x = np.mgrid[0:36, 0:44]
    pixels = np.stack([4 * x, 5 * y, 2 * (x + y), 255 - 3 * x], axis=2).astype(np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert("RGB" if mode in ("I;16", "F") else mode)
    if mode in ("I;16", "F"):
        kind = np.uint16 if mode == "I;16" else np.float32
        image = Image.fromarray(np.asarray(image.convert("L")).astype(kind))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[decoding.ORIENTATION] = 6
    found[0x010E] = "a description"
    return found


FRAMES = [Image.new("P", (44, 36), i) for i in range(3)]
IMAGES = {
    "JPEG": [
        encoded("JPEG", exif=exif()),
        encoded("JPEG", progressive=True),
        encoded("JPEG", "CMYK"),
        encoded("JPEG", "L", quality=30),
    ],
    "PNG": [
        encoded("PNG"),
        encoded("PNG", "P", transparency=3),
        encoded("PNG", "I;16"),
        encoded("PNG", "LA", exif=exif()),
        encoded("PNG", "1"),
    ],
    "GIF": [
        encoded("GIF", "P", save_all=True, append_images=FRAMES),
        encoded("GIF", "L", transparency=1),
    ],
    "WEBP": [encoded("WEBP"), encoded("WEBP", "RGBA", lossless=True, exif=exif())],
    "TIFF": [
        encoded("TIFF"),
        encoded("TIFF", compression="tiff_lzw"),
        encoded("TIFF", "1", compression="group4"),
        encoded("TIFF", compression="jpeg"),
        encoded("TIFF", "F", compression="tiff_adobe_deflate"),
        encoded("TIFF", "P", save_all=True, append_images=FRAMES),
    ],
    "BMP": [encoded("BMP"), encoded("BMP", "P"), encoded("BMP", "1")],
}


@sizes(100, 2200)
@pytest.mark.parametrize("form", IMAGES)
def test_a_damaged_image_is_pixels_or_a_fault(tmp_path: Path, form: str, examples: int) -> None:
    """Whatever its bytes, an image becomes uint8[S,S,3] or an error that names the file."""
    path = tmp_path / "photo"

    @trying(examples, which=st.integers(0, 99), edits=EDITS)
    def check(which: int, edits: list[tuple[str, int, int, bytes]]) -> None:
        path.write_bytes(damaged(IMAGES[form][which % len(IMAGES[form])], edits))
        decoding.size_of(path)
        try:
            pixels = decoding.decode(path, SIDE)
        except ImageError as error:
            well_told(error, path)
        else:
            assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole small run."""
    return small_run(tmp_path_factory.mktemp("fuzz") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def used(run: Path, picture: Path) -> None:
    """What `predict` and `evaluate` do with a run; only a fault of the run may come of it."""
    with contextlib.suppress(RunError, BackboneError):
        facts = run_folder.load_facts(run)
        run_folder.load_splits(run)
        (answer,) = predict.run_prediction([picture], run, top=3, device="cpu", listener=Recorder())
        assert answer.label in facts.classes
        assert 0 <= float(answer.probability or 0) <= 1


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(IMAGES["PNG"][0])
    return tmp_path / "photo.png"


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**30]),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["../..", "/etc/passwd", "random", "hf-hub:a/b", "\x1b[31m", "deep"]),
    st.lists(st.integers(0, 5), max_size=4),
    st.just({}),
    st.lists(st.text(max_size=5), max_size=4),
)


def places(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON document."""
    if path:
        yield path
    inside = plain.items() if isinstance(plain, dict) else ()
    inside = enumerate(plain) if isinstance(plain, list) else inside
    for key, value in inside:
        yield from places(value, (*path, key))


def changed(plain: Any, edits: list[tuple[int, bool, Any]]) -> Any:
    """A JSON document with some values taken out or replaced."""
    plain = json.loads(json.dumps(plain))
    for number, drop, value in edits:
        ways = list(places(plain))
        if not ways:
            break
        *path, last = ways[number % len(ways)]
        inner = plain
        for key in path:
            inner = inner[key]
        if drop:
            del inner[last]
        else:
            inner[last] = value
    return plain


@sizes(80, 1500)
@pytest.mark.parametrize("name", ["run.json", "splits.json"])
def test_a_run_with_other_values_is_used_or_a_fault(
    run: Path, picture: Path, name: str, examples: int
) -> None:
    """Well-formed JSON with anything in it, in every place, ends in an answer or a run's fault."""
    original = json.loads((run / name).read_text("utf-8"))
    edits = st.lists(st.tuples(st.integers(0, 10**6), st.booleans(), ODD), min_size=1, max_size=3)

    @trying(examples, edits=edits)
    def check(edits: list[tuple[int, bool, Any]]) -> None:
        (run / name).write_text(json.dumps(changed(original, edits)), "utf-8")
        used(run, picture)


@sizes(80, 1000)
@pytest.mark.parametrize("name", ["run.json", "splits.json", "model.safetensors"])
def test_a_run_with_damaged_files_is_used_or_a_fault(
    run: Path, picture: Path, name: str, examples: int
) -> None:
    """Any bytes in any of its files end in an answer or a run's fault, without the network file."""
    original = (run / name).read_bytes()
    for file in inference.FILES:
        (run / file).unlink()

    @trying(examples, edits=EDITS)
    def check(edits: list[tuple[str, int, int, bytes]]) -> None:
        (run / name).write_bytes(damaged(original, edits))
        used(run, picture)


WORDS = st.sampled_from(
    [
        *(
            "Add",
            "Const",
            "Reshape",
            "Parameter",
            "Loop",
            "ReadValue",
            "f32",
            "i64",
            "u8",
            "string",
        ),
        *("0", "1", "-1", "2", "32", "1000000", "18446744073709551615", "", "1, 1", "3,3", "9, 9"),
        *("opset1", "opset8", "extension", "same_upper", "valid", "numpy", "x"),
    ]
)


@sizes(80, 2000)
def test_a_network_with_other_attributes_is_used_or_a_fault(whole: Path, examples: int) -> None:
    """Attributes and sizes exchanged in the topology: never a crash, never more than a moment."""
    xml, constants = ((whole / name).read_bytes() for name in inference.FILES)
    parts = xml.decode().split('"')  # every second part is an attribute's value
    edits = st.lists(st.tuples(st.integers(0, 10**6), WORDS), min_size=1, max_size=3)

    @trying(examples, edits=edits)
    def check(edits: list[tuple[int, str]]) -> None:
        new = list(parts)
        for number, word in edits:
            new[2 * (number % (len(parts) // 2)) + 1] = word
        scored('"'.join(new).encode(), constants)


@sizes(80, 1500)
def test_a_damaged_network_is_used_or_a_fault(whole: Path, examples: int) -> None:
    """Bytes exchanged in the topology and in the constants, under digests that fit."""
    xml, constants = ((whole / name).read_bytes() for name in inference.FILES)

    @trying(examples, edits=EDITS, others=EDITS, which=st.sampled_from([1, 2, 3]))
    def check(edits: list[Any], others: list[Any], which: int) -> None:
        scored(
            damaged(xml, edits) if which & 1 else xml,
            damaged(constants, others) if which & 2 else constants,
        )


def scored(xml: bytes, constants: bytes) -> None:
    """Use a network; OpenVINO's own errors are what `predict` falls back to torch for."""
    with contextlib.suppress(RunError, RuntimeError):
        ready = inference.scorer(xml, constants, SIDE, len(CLASSES), "inference.xml")
        assert ready.forward(inference.noise(SIDE)).shape == (2, len(CLASSES))


def test_a_forged_network_is_used_or_a_fault(run: Path, picture: Path) -> None:
    """The whole way with forged digests, once: the fuzzing above begins behind them."""
    xml = (run / "inference.xml").read_bytes().replace(b'type="ReLU"', b'type="Sigmoid"')
    (run / "inference.xml").write_bytes(xml)
    plain = json.loads((run / "run.json").read_text("utf-8"))
    plain["inference"]["inference.xml"] = hashlib.sha256(xml).hexdigest()
    (run / "run.json").write_text(json.dumps(plain), "utf-8")

    used(run, picture)


# --- checkpoints ----------------------------------------------------------------------------------


@sizes(80, 1200)
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_damaged_checkpoint_is_read_or_a_fault(tmp_path: Path, form: str, examples: int) -> None:
    """Any bytes end in weights that fit or in a fault that names the file."""
    torch.manual_seed(0)
    net = load.build("lenet5", registry.RANDOM)[0]
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.pth")
    if form == "safetensors":
        save_file(net.state(), path)
    else:
        torch.save(net.state(), path, _use_new_zipfile_serialization=form == "zip")
    original = path.read_bytes()

    @trying(examples, edits=EDITS)
    def check(edits: list[tuple[str, int, int, bytes]]) -> None:
        path.write_bytes(damaged(original, edits))
        try:
            load._load_file(net.net, path)
        except BackboneError as error:
            well_told(error, path)


@sizes(80, 2000)
def test_a_damaged_pickle_is_read_or_a_fault(tmp_path: Path, examples: int) -> None:
    """The same where only the pickle inside an archive is damaged, its check sum made anew."""
    torch.manual_seed(0)
    net = load.build("lenet5", registry.RANDOM)[0]
    path = tmp_path / "x.pth"
    torch.save(net.state(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    name = next(n for n in parts if n.endswith("data.pkl"))

    @trying(examples, edits=EDITS)
    def check(edits: list[tuple[str, int, int, bytes]]) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for other, content in parts.items():
                archive.writestr(other, damaged(content, edits) if other == name else content)
        try:
            load._load_file(net.net, path)
        except BackboneError as error:
            well_told(error, path)


# --- the command line -----------------------------------------------------------------------------

TEXT = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=()), max_size=12
).filter(lambda text: "\0" not in text)
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "-1",
                "0",
                "1",
                "0.5",
                "1e9",
                "nan",
                "inf",
                "-inf",
                "1e400",
                "٣",
                "0x10",
                "1_000",
            ),
            *("deep", "auto", "cpu", "cuda", "random", "small", "similar", "table", "skip", "90s"),
            *("lenet5", "alexnet", "resnet18", "no-such-net", "..", ".", "~", "--", "-", "\n"),
        ]
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    TEXT,
)
FOLDERS = ("missing", "empty", "one class", "no images", "a file", "a pipe", "a loop", "run", "é\n")
OPTIONS = {
    command: [
        option.flag
        for rows in option_table.of(command).values()
        for option in rows
        # what writes a file would leave one wherever the words say
        if option.kind in ("int", "float", "str") or option.name == "run"
    ]
    for command in ("train", "recommend", "compare", "predict", "evaluate", "runs", "cache")
}
FLAGS = ["--json", "--unseen", "--class-weights", "--clear", "--help", "-h", "--version", "--x", ""]


@pytest.fixture
def odd_places(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with places that no command can train on; a small run, and a cache of its own."""
    for name in ("empty", "one class/a", "no images/a", "no images/b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one class" / "a" / "1.png").write_bytes(IMAGES["PNG"][0])
    (tmp_path / "no images" / "a" / "notes.txt").write_text("notes")
    (tmp_path / "a file").write_text("a file")
    os.mkfifo(tmp_path / "a pipe")
    (tmp_path / "a loop").symlink_to("a loop")
    shutil.copytree(whole, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@sizes(60, 2500)
def test_any_command_line_ends_with_an_answer_or_a_fault(
    odd_places: Path, run_cli, examples: int
) -> None:
    """Exit code 0, 2 or 3 and no traceback, whatever the words; nothing outside is written."""
    before = {p.name for p in odd_places.iterdir()}
    words = st.one_of(
        st.sampled_from(FOLDERS),
        st.sampled_from(FLAGS),
        st.tuples(st.integers(0, 99), VALUES),
        TEXT.filter(lambda text: not text.startswith(("/", "-"))),
    )

    @trying(examples, command=st.sampled_from([*OPTIONS]), words=st.lists(words, max_size=5))
    def check(command: str, words: list[Any]) -> None:
        arguments = [command]
        for word in words:
            if isinstance(word, str):
                arguments.append(word)
            elif OPTIONS[command]:
                arguments += [OPTIONS[command][word[0] % len(OPTIONS[command])], word[1]]

        done = run_cli(*arguments)

        assert done.code in (0, 2, 3), (arguments, done.err)
        assert "Traceback" not in done.err
        assert "Warning:" not in done.err
        assert not set(done.err) & (set(map(chr, range(32))) - set("\n"))

    assert {p.name for p in odd_places.iterdir()} - {"cache"} == before


@sizes(20, 400)
@pytest.mark.parametrize("command", ["train", "recommend"])
def test_any_value_of_an_option_is_taken_or_refused(
    odd_places: Path, run_cli, command: str, examples: int
) -> None:
    """Every option with every kind of value: told before the folder, which holds nothing, is."""
    options = st.sampled_from(OPTIONS[command])

    @trying(examples, given_options=st.dictionaries(options, VALUES, min_size=1, max_size=4))
    def check(given_options: dict[str, str]) -> None:
        pairs = [word for pair in given_options.items() for word in pair]

        done = run_cli(command, "empty", *pairs)

        assert done.code in (2, 3), (pairs, done.err)
        assert "Traceback" not in done.err


@sizes(50, 300)
def test_a_fault_can_be_printed_whatever_is_in_it(
    run_cli, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    """Any text in a message comes out on one line, with nothing that moves the cursor."""
    text = st.text(st.characters(blacklist_categories=()), max_size=30)

    @trying(examples, message=text, hint=text | st.sampled_from(["[/]", "[bold", "\\", "[/x]\\"]))
    def check(message: str, hint: str) -> None:
        def fail(_: Path) -> None:
            raise FinetuneError(message, hint=hint)

        monkeypatch.setattr(listing, "rows", fail)
        done = run_cli("runs")

        assert done.code == 3
        assert done.err.count("\n") == 2
        assert all(c.isprintable() or c == "\n" for c in done.err)
        if message.isascii() and set(message) <= set(string.ascii_letters + "[]/\\ "):
            assert message.strip() in done.err

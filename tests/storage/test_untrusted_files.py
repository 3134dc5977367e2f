"""Promises of `storage.untrusted_files`: honest files pass, and hostile ones are refused unread."""

from __future__ import annotations

import io
import os
import pickle  # noqa: TID251 - to make what must not be loaded
import re
import socket
import tarfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as ops
from safetensors.numpy import save_file

from finetune.backbones import engine, inference, load
from finetune.deploy import inference_file
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge
from finetune.records.errors import BackboneError, RunError
from finetune.storage import untrusted_files

SIDE = 32

# --- places and names -----------------------------------------------------------------------------


def test_an_ordinary_file_is_read(tmp_path: Path) -> None:
    """Within the limit, directly or by a link that stays in the folder, also in a linked folder."""
    home = tmp_path / "run"
    (home / "below").mkdir(parents=True)
    (home / "below" / "a").write_bytes(b"12345")
    (home / "link").symlink_to("below/a")
    (tmp_path / "other").symlink_to(home)

    assert untrusted_files.read(home / "below" / "a", 5, home) == b"12345"
    assert untrusted_files.read(home / "link", 5, home) == b"12345"
    assert untrusted_files.read(tmp_path / "other" / "link", 5, tmp_path / "other") == b"12345"


def make_socket(path: Path) -> None:
    short = f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY)}/{path.name}"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(short)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "a link out": lambda path: path.symlink_to("/etc/hostname"),
    "a relative link out": lambda path: path.symlink_to("../../outside"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a dead link": lambda path: path.symlink_to("nowhere"),
    "a loop": lambda path: path.symlink_to(path.name),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "too large": lambda path: path.write_bytes(bytes(101)),
    "missing": lambda _: None,
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_ordinary_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """Nothing outside the folder, nothing that never ends, nothing too large; and no waiting."""
    (tmp_path / "outside").write_text("secret")
    home = tmp_path / "run"
    home.mkdir()
    ODD_FILES[kind](home / "file")

    with pytest.raises((ValueError, OSError)) as caught:
        untrusted_files.read(home / "file", 100, home)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/1.png", "a..b/..c.png", "…/ü \n.png", "a\\b.png", ".hidden/x"])
def test_names_inside_a_folder_pass(name: str) -> None:
    """Odd names are the user's own business."""
    untrusted_files.check_name(name)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a/..", "a\0b", "//host/x"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    """No `..`, no absolute path, no end of string in the middle."""
    with pytest.raises(ValueError, match="outside"):
        untrusted_files.check_name(name)


# --- safetensors ----------------------------------------------------------------------------------


def test_an_honest_safetensors_file_passes(tmp_path: Path) -> None:
    """Many tensors, and none."""
    for count in (0, 3000):
        named = {f"layer.{i}.weight": np.zeros(3, np.float32) for i in range(count)}
        save_file(named, tmp_path / "file")
        untrusted_files.check_tensors(tmp_path / "file")


@pytest.mark.parametrize("header", [untrusted_files.MOST_HEADER_BYTES + 1, 2**40, 2**64 - 1])
def test_a_header_too_long_is_refused(tmp_path: Path, header: int) -> None:
    """Before a byte of it is read."""
    (tmp_path / "file").write_bytes(header.to_bytes(8, "little") + b"{}")

    with pytest.raises(ValueError, match="header"):
        untrusted_files.check_tensors(tmp_path / "file")


def sparse(path: Path, size: int) -> Path:
    """A file that says it is large and takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_only_says_it_is_huge_is_refused(tmp_path: Path, suffix: str) -> None:
    """A file with holes costs a stranger nothing; its size is looked at first."""
    path = sparse(tmp_path / f"x{suffix}", untrusted_files.MOST_TENSOR_BYTES + 1)

    with pytest.raises(BackboneError, match="bytes, more than") as caught:
        load.read_tensors(path)

    assert str(path) in caught.value.message
    assert caught.value.hint


# --- torch's files --------------------------------------------------------------------------------

BETAS = (0.9, 0.999)
STATE = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": torch.tensor(7),
    "half": torch.zeros(3, dtype=torch.float16),
    "brain": torch.zeros(3, dtype=torch.bfloat16),
}
HONEST: dict[str, Any] = {
    "a state dict": STATE,
    "an ordered one": OrderedDict(STATE),
    "parameters": {"a": torch.nn.Parameter(torch.zeros(2)), "b": torch.zeros(2)},
    "a module's": torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    ).state_dict(),
    "shared tensors": {"a": STATE["half"], "b": STATE["half"]},
    "empty": {},
    "a checkpoint": {
        "state_dict": STATE,
        "epoch": 3,
        "best": 0.5,
        "arch": "resnet18",
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2)}},
            "param_groups": [{"lr": 0.1, "betas": BETAS, "params": [i]} for i in range(5)],
        },
        "size": torch.Size([1, 2]),
        "kind": torch.float16,
        "long": 2**70,
        "none": None,
    },
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("name", HONEST)
def test_honest_checkpoints_are_read(tmp_path: Path, name: str, old: bool) -> None:
    """Whatever people keep beside the tensors, in the form of today and of before torch 1.6."""
    path = tmp_path / "x.pth"
    torch.save(HONEST[name], path, _use_new_zipfile_serialization=not old)

    read = load.read_tensors(path)

    expected = HONEST[name].get("state_dict", HONEST[name])
    assert set(read) == set(expected)
    assert all(torch.equal(read[n], t) for n, t in expected.items())


class Runs:
    """A pickle of this would run a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def with_pickle(path: Path, content: bytes, *, size: int = 4) -> Path:
    """A checkpoint in today's form around a hand-made pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(size))
    return path


def repacked(path: Path) -> Path:
    """The same checkpoint, compressed: a billion zeros in a megabyte."""
    torch.save({"a": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def overlapping(path: Path) -> Path:
    """Many entries of the archive's list that all mean the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(100_000))
        first = archive.getinfo("archive/data/0")
        for i in range(1, 500):
            twin = zipfile.ZipInfo(f"archive/data/{i}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(twin, name, getattr(first, name))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True  # type: ignore[attr-defined]
    return path


def as_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    return path


def tuples(depth: int) -> bytes:
    """A dictionary whose key is a tuple of twice a tuple of twice others, and so on."""
    steps = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(depth))
    return b"\x80\x02}(" + b"K\x01K\x02\x86q\x00" + steps + b"h\x00K\x01u."


def hidden_tuples(depth: int) -> bytes:
    """The same, each tuple put into memory twice."""
    steps = b"".join(b"h\x01h\x01\x86q\x00q\x01" for _ in range(depth))
    return b"\x80\x02}(" + b"K\x01K\x02\x86q\x00q\x01" + steps + b"h\x01K\x01u."


def write(content: bytes) -> Callable[[Path], Path]:
    return lambda path: (path.write_bytes(content), path)[1]


def write_archive(content: bytes) -> Callable[[Path], Path]:
    return lambda path: with_pickle(path, content)


LENGTH = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a compressed archive": repacked,
    "parts that overlap": overlapping,
    "a tar file": as_tar,
    "two gigabytes in thirty bytes": write_archive(LENGTH),
    "the same in the old form": write(LENGTH * 5),
    "tuples of tuples": write_archive(tuples(60)),
    "tuples of tuples, hidden": write_archive(hidden_tuples(60)),
    "tuples of tuples in the old form": write(tuples(60) * 5),
    "a pickle that goes on": write_archive(b"\x80\x02" + b"K\x01" * 3_000_000),
    "no pickle": lambda path: with_pickle(path, b"hello"),
    "an archive of nothing": lambda path: zipfile.ZipFile(path, "w").close() or path,
    "a cut archive": write(untrusted_files.ZIP_START + bytes(50)),
    "an empty file": write(b""),
    "text": write(b"hello " * 100),
    "a list": lambda path: torch.save([torch.zeros(1)], path) or path,
    "a tensor": lambda path: torch.save(torch.zeros(1), path) or path,
    "numbers for names": lambda path: torch.save({1: torch.zeros(1)}, path) or path,
    "numbers for tensors": lambda path: torch.save({"a": 1}, path) or path,
    "a whole model": lambda path: torch.save(torch.nn.Linear(2, 2), path) or path,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoints_are_refused_at_once(tmp_path: Path, name: str) -> None:
    """One line with the path and a way on, in no time, whatever the file would have cost."""
    path = HOSTILE[name](tmp_path / "x.pth")

    began = time.perf_counter()
    with pytest.raises(BackboneError) as caught:
        load.read_tensors(path)

    assert time.perf_counter() - began < 5
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.hint) > 10


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_checkpoint_cannot_run_a_command(tmp_path: Path, old: bool) -> None:
    """What a pickle wants to call is named and not called."""
    path, mark = tmp_path / "x.pth", tmp_path / "mark"
    evil = {"state_dict": STATE, "extra": Runs(f"touch {mark}")}
    torch.save(evil, path, _use_new_zipfile_serialization=not old)

    with pytest.raises(BackboneError, match=r"posix\.system|os\.system"):
        load.read_tensors(path)

    assert not mark.exists()


def test_the_pickle_of_every_protocol_is_held_to_the_list(tmp_path: Path) -> None:
    """Newer forms of calls and text forms of old are not on it."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps({"a": Runs("true")}, protocol)
        with pytest.raises(BackboneError):
            load.read_tensors(with_pickle(tmp_path / "x.pth", content))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A checkpoint of a training that failed is told before anything is run."""
    torch.manual_seed(0)
    state = load.build("lenet5", "random")[0].state()
    state["features.0.0.bias"][0] = float("nan")
    torch.save(state, tmp_path / "x.pth")

    with pytest.raises(BackboneError, match=r"not numbers.*features\.0\.0\.bias"):
        load.build("lenet5", str(tmp_path / "x.pth"))


@pytest.mark.parametrize("kind", ["complex", "sparse", "expanded"])
def test_tensors_of_an_odd_kind_do_not_fit(tmp_path: Path, kind: str) -> None:
    """What has the right name still needs the right form; nothing is made larger to see."""
    torch.manual_seed(0)
    state = load.build("lenet5", "random")[0].state()
    name = "pre_logits.1.weight"
    state[name] = {
        "complex": state[name].to(torch.complex64),
        "sparse": state[name].to_sparse(),
        "expanded": torch.zeros(1).expand(2**40),
    }[kind]
    torch.save(state, tmp_path / "x.pth")

    with pytest.raises(BackboneError) as caught:
        load.build("lenet5", str(tmp_path / "x.pth"))

    assert str(tmp_path / "x.pth") in caught.value.message


# --- networks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def honest() -> tuple[bytes, bytes]:
    """The inference file of a small network with three classes."""
    torch.manual_seed(0)
    backbone, _ = load.build("lenet5", "random")
    made = engine.make(backbone, torch.device("cpu"), SIDE, 1)
    head = ridge.Head(np.ones((3, 84)), np.zeros(3), 1.0)
    files, why = inference_file.inference_file(
        lambda: engine.convert(backbone, SIDE), Predictor(made, SIDE, (), 1.0, head, ("top",))
    )
    assert files is not None, why
    return files


def refused(xml: bytes, constants: bytes, match: str = "") -> None:
    """The scorer refuses a network as a run's fault, with its name and what to do."""
    with pytest.raises(RunError, match=match) as caught:
        inference.scorer(xml, constants, SIDE, 3, "runs/one/inference.xml")
    assert "runs/one/inference.xml" in caught.value.message
    assert caught.value.hint == inference.DELETE


def test_an_honest_network_passes(honest: tuple[bytes, bytes]) -> None:
    """What training writes is read."""
    assert inference.scorer(*honest, SIDE, 3, "x").layout == {"scores": (0, 3)}


def first_constant(xml: bytes, **changes: str) -> bytes:
    """The network with another form of its first constant."""
    tag = re.search(rb"<data element_type=[^>]*offset=[^>]*/>", xml)
    assert tag is not None
    new = tag.group().decode()
    for name, value in changes.items():
        new = re.sub(rf'{name}="[^"]*"', f'{name}="{value}"', new)
    return xml.replace(tag.group(), new.encode(), 1)


def with_layer(xml: bytes, layer: str) -> bytes:
    return xml.replace(b"</layers>", layer.encode() + b"</layers>")


START = untrusted_files.XML_START
BAD_XML: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no XML": (lambda _: b"\x08\x07\x12\x07pytorch", "no XML"),
    "half of it": (lambda xml: xml[: len(xml) // 2], "no XML"),
    "another root": (lambda _: START + b"<model/>", "elements called"),
    "an entity": (
        lambda xml: xml.replace(START, START + b'<!DOCTYPE net [<!ENTITY a SYSTEM "/etc/x">]>'),
        "no XML",
    ),
    "a comment": (lambda xml: xml.replace(b"<layers>", b"<layers><!-- x -->"), "no XML"),
    "another encoding": (
        lambda xml: xml.replace(b'"1.0"?>', b'"1.0" encoding="utf-16"?>'),
        "no XML",
    ),
    "not text": (lambda xml: xml.replace(b"images", b"\xff\xfe", 1), "no XML"),
    "a loop": (
        lambda xml: with_layer(xml, '<layer id="99" type="Loop" version="opset5"><body/></layer>'),
        "elements called",
    ),
    "a layer with a memory": (
        lambda xml: xml.replace(b'type="ReLU"', b'type="ReadValue"', 1),
        "ReadValue",
    ),
    "a layer of an extension": (
        lambda xml: xml.replace(b'version="opset1"', b'version="evil_extension"', 1),
        "layer of the kind",
    ),
    "two layers of one number": (
        lambda xml: xml.replace(b'<layer id="2"', b'<layer id="1"', 1),
        "numbers of their own",
    ),
    "an edge to nowhere": (
        lambda xml: xml.replace(b'to-layer="1"', b'to-layer="777"', 1),
        "nowhere",
    ),
    "a constant far behind the file": (
        lambda xml: first_constant(xml, offset="999999999"),
        "not in its other file",
    ),
    "a constant before the file": (
        lambda xml: first_constant(xml, offset="-4"),
        "not in its other file",
    ),
    "an offset that wraps": (
        lambda xml: first_constant(xml, offset=str(2**64 - 8)),
        "not in its other file",
    ),
    "a constant of strings": (
        lambda xml: first_constant(xml, element_type="string"),
        "odd form",
    ),
    "a padding of a million": (
        lambda xml: xml.replace(b'pads_begin="0, 0"', b'pads_begin="1000000, 0"', 1),
        "odd size",
    ),
    "too long": (lambda xml: xml + b" " * untrusted_files.MOST_TOPOLOGY_BYTES, "more than"),
    "deep": (
        lambda xml: with_layer(xml, "<data>" * 200_000 + "</data>" * 200_000),
        "elements called",
    ),
}


@pytest.mark.parametrize("name", BAD_XML)
def test_networks_of_another_form_are_never_given_to_openvino(
    honest: tuple[bytes, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other formats, files and code to pull in, tricks on the parser: refused in Python."""
    monkeypatch.setattr(openvino.Core, "read_model", lambda *_, **__: pytest.fail("was read"))
    change, match = BAD_XML[name]

    assert change(honest[0]) != honest[0]
    refused(change(honest[0]), honest[1], match)


def test_many_constants_of_the_same_bytes_are_refused(honest: tuple[bytes, bytes]) -> None:
    """A thousand times the whole file is a thousand times the memory."""
    size = len(honest[1])
    layers = "".join(
        f'<layer id="{1000 + i}" type="Const" version="opset1"><data element_type="u8" '
        f'shape="{size}" offset="0" size="{size}"/></layer>'
        for i in range(100)
    )

    refused(with_layer(honest[0], layers), honest[1], "overlap")


def network(build: Callable[[Any], Any]) -> tuple[bytes, bytes]:
    """A network made by hand around `build`, which gets float32[1,32,32,3]."""
    image = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="images")
    out = build(ops.convert(image, "f32"))
    return inference.serialised(openvino.Model([out], [image], "x"))


def row(x: Any) -> Any:
    """Anything → float32[1,3]."""
    total = ops.reduce_mean(x, np.arange(len(x.get_output_partial_shape(0))), False)
    return ops.broadcast(ops.unsqueeze(total, np.array([0])), np.array([1, 3]))


def computed_shape(x: Any) -> Any:
    """The shape of one layer is computed from another's values: OpenVINO does so while reading.

    With 2**33 for 2**3 it tries to allocate 64 GB then.
    """
    many = ops.broadcast(ops.constant(np.int64(1)), np.array([2**3]))
    return row(
        ops.broadcast(ops.constant(np.float32(1)), ops.reduce_sum(many, np.array([0]), True))
    )


LARGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a constant spread out": (
        lambda _: row(ops.broadcast(ops.constant(np.float32(1)), np.array([2**20, 2**20]))),
        "computes more",
    ),
    "a picture repeated": (lambda x: row(ops.tile(x, np.array([1, 2**10, 2**10, 1]))), "computes"),
    "a computed shape": (computed_shape, "shape is computed"),
    "an endless convolution": (
        lambda x: row(
            ops.convolution(
                ops.transpose(ops.tile(x, np.array([1, 64, 64, 1])), np.array([0, 3, 1, 2])),
                ops.constant(np.ones((40, 3, 301, 301), np.float32)),
                *([1, 1], [150, 150], [150, 150], [1, 1]),
            )
        ),
        "computes more",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_networks_that_take_more_than_any_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that ask for terabytes or years are refused before they are compiled."""
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_, **__: pytest.fail("compiled"))
    build, match = LARGE[name]
    xml, constants = network(build)
    began = time.perf_counter()

    refused(xml, constants, match)

    assert time.perf_counter() - began < 5


def test_a_network_made_by_hand_may_pass() -> None:
    """The builder of these tests makes networks that are refused for their size alone."""
    files = network(row)

    assert inference.scorer(*files, SIDE, 3, "x").forward(inference.noise(SIDE)).shape == (2, 3)


def test_a_network_that_is_not_of_one_size_is_refused() -> None:
    """A side that is open could be anything."""
    image = ops.parameter([1, -1, SIDE, 3], np.uint8)
    files = inference.serialised(openvino.Model([ops.convert(image, "f32")], [image], "x"))

    refused(*files, "not fixed")


def test_pickles_are_only_looked_at() -> None:
    """The check takes bytes and gives nothing: no object is made from them."""
    assert untrusted_files._check_pickle(io.BytesIO(pickle.dumps({"a": (1, 2)}, 2))) is None

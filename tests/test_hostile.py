"""Promises of the commands on a stranger's run: a fault with its path, and nothing else happens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
from helpers import small_run
from PIL import Image
from safetensors.numpy import load_file, save_file

from finetune.backbones import inference, load
from finetune.records import errors

ESCAPE = "\x1b]0;owned\x07\x1b[31m[bold red]x[/][/nothing]\r\n\u202e"


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("stranger") / "run")


@pytest.fixture
def run(run_once: Path, tmp_path: Path) -> Path:
    """A stranger's run, to be changed."""
    copy = tmp_path / "run"
    copy.mkdir()
    for file in run_once.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def edit(run: Path, change: Callable[[dict], object]) -> None:
    plain = json.loads((run / "run.json").read_text("utf-8"))
    change(plain)
    (run / "run.json").write_text(json.dumps(plain), "utf-8")


def without_network(run: Path) -> None:
    for name in inference.FILES:
        (run / name).unlink()


def edit_model(run: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(run / "model.safetensors")
    change(tensors)
    save_file(tensors, run / "model.safetensors")


def test_the_run_is_good_before_it_is_spoilt(run: Path, picture: Path, run_cli) -> None:
    """It answers with and without its inference file, the same both times."""
    quick = run_cli("predict", picture, "--run", run, "--json")
    without_network(run)
    slow = run_cli("predict", picture, "--run", run, "--json")

    assert (quick.code, slow.code) == (0, 0)
    one, two = json.loads(quick.out), json.loads(slow.out)
    assert one["label"] == two["label"]
    assert one["probability"] == pytest.approx(two["probability"], abs=1e-4)


HUGE = "vit_giant_patch14_224"
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name of no backbone": (
        lambda run: edit(run, lambda p: p["backbone"].update(name="../../x")),
        "unknown backbone",
    ),
    "a name that would be fetched": (
        lambda run: edit(run, lambda p: p["backbone"].update(name="hf-hub:stranger/model")),
        "unknown backbone",
    ),
    "a name of a folder": (
        lambda run: edit(run, lambda p: p["backbone"].update(name="local-dir:/etc")),
        "unknown backbone",
    ),
    "a network of a billion weights": (
        lambda run: edit(run, lambda p: p["backbone"].update(name=HUGE)),
        "does not fit the backbone",
    ),
    "another network": (
        lambda run: edit(run, lambda p: p["backbone"].update(name="resnet18")),
        "does not fit the backbone",
    ),
    "a stage that is not there": (
        lambda run: edit(run, lambda p: p["head"].update(taps=["top", "evil"])),
        "do not fit together",
    ),
    "a stage named a million times": (
        lambda run: edit(run, lambda p: p["head"].update(taps=["top"] * 100_000)),
        "the head reads 84 features of 8400000",
    ),
    "a head of another width": (
        lambda run: edit_model(run, lambda t: t.update({"head.weight": np.ones((2, 7), "f4")})),
        "the head reads 7 features of 84",
    ),
    "a side that the network cannot take": (
        lambda run: edit(run, lambda p: p["preprocess"].update(side_px=9)),
        "do not fit together: lenet5 at 9 px",
    ),
    "tensors of another kind": (
        lambda run: edit_model(
            run,
            lambda t: t.update({"backbone.pre_logits.1.bias": np.zeros(120, np.complex64)}),
        ),
        "",
    ),
    "weights that are no numbers": (
        lambda run: edit_model(run, lambda t: t["backbone.pre_logits.1.bias"].fill(np.nan)),
        "is not a number",
    ),
    "weights beyond all bounds": (
        lambda run: edit_model(run, lambda t: t["backbone.pre_logits.1.weight"].fill(3e38)),
        "is not a number",
    ),
    "a tensor too many": (
        lambda run: edit_model(run, lambda t: t.update({"backbone.x": np.zeros(1, "f4")})),
        "1 unknown",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_run_is_a_fault_without_a_traceback(
    run: Path, picture: Path, run_cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Exit code 3, one line and a way on; nothing is fetched, and no large network is made."""
    without_network(run)
    spoil, words = SPOILT[name]
    spoil(run)
    made = timm.create_model

    def watched(model: str, **options: object) -> object:
        assert not options.get("pretrained"), "weights would be fetched"
        network = made(model, **options)
        assert model != HUGE or all(p.is_meta for p in network.parameters())
        return network

    monkeypatch.setattr(timm, "create_model", watched)
    began = time.perf_counter()

    done = run_cli("predict", picture, "--run", run)

    assert done.code == 3, done.err
    assert words in done.err
    assert "try:" in done.err
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    assert time.perf_counter() - began < 10


def test_an_odd_temperature_gives_no_warnings(run: Path, picture: Path, run_cli) -> None:
    """What training cannot find is refused; the least and the most it could are divided by."""
    for value, code in ((5e-324, 3), (1e-6, 0), (1e6, 0), (1e308, 3)):
        edit(run, lambda p, value=value: p["head"].update(temperature=value))

        done = run_cli("predict", picture, "--run", run, "--json")

        assert done.code == code
        assert code or 0 <= json.loads(done.out)["probability"] <= 1
        assert "Warning" not in done.err


def test_names_of_a_strangers_run_do_nothing_to_the_terminal(
    run: Path, picture: Path, run_cli, tmp_path: Path
) -> None:
    """Control characters and markup in names, dates and sources come out as text."""

    def name(plain: dict) -> None:
        plain["classes"] = [ESCAPE, f"2{ESCAPE}"]
        plain["created"] = plain["accuracy_source"] = ESCAPE
        plain["backbone"]["name"] = ESCAPE

    edit(run, name)

    shown = run_cli("predict", picture, "--run", run)
    listed = run_cli("runs", run.parent)
    asked = run_cli("predict", picture, "--run", run, "--json")

    for done in (shown, listed, asked):
        assert done.code == 0, done.err
        assert not {"\x1b", "\x07", "\r"} & set(done.out + done.err)
    assert "\u202e" not in shown.out + listed.out
    assert r"\x1b]0;owned\x07" in shown.out
    assert "[/nothing]" in shown.out
    assert r"\x1b]0;owned" in listed.out
    assert json.loads(asked.out)["label"].endswith(ESCAPE)


def test_a_folder_named_by_a_control_character_is_shown_as_text(run_cli, tmp_path: Path) -> None:
    """What is told of a place without runs names it, and does nothing to the terminal."""
    done = run_cli("runs", tmp_path / "\x1b[2J\x1f")

    assert (done.code, done.out) == (0, "")
    assert r"\x1b[2J\x1f" in done.err
    assert "\x1b" not in done.err


def test_a_strangers_run_is_not_written_to(run: Path, picture: Path, run_cli) -> None:
    """Its bytes and times are the same after it was used and listed."""

    def state() -> list[tuple[str, int, bytes]]:
        return [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(run.iterdir())]

    before = state()
    run_cli("predict", picture, "--run", run)
    run_cli("runs", run.parent)
    without = state()

    assert without == before


def test_a_thousand_broken_runs_are_listed_quickly(tmp_path: Path, run_cli) -> None:
    """A folder full of what looks like runs is a table of faults."""
    for i in range(1000):
        folder = tmp_path / "runs" / str(i)
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(b"{" * i)
    os.mkfifo(tmp_path / "runs" / "pipe")
    (tmp_path / "runs" / "loop").symlink_to("loop")
    began = time.perf_counter()

    done = run_cli("runs", tmp_path / "runs", "--json")

    assert done.code == 0
    rows = json.loads(done.out)
    assert len(rows) == 1000
    assert all(row["error"] for row in rows)
    assert time.perf_counter() - began < 5


def test_a_backbone_of_that_name_is_not_loaded_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are looked up in timm's table; none is a place on the disk or in the net."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')

    for name in (".", "local-dir:.", f"local-dir:{tmp_path}", "hf-hub:a/b", "hf_hub:a/b"):
        with pytest.raises(errors.BackboneError, match="unknown backbone"):
            load.build(name, "random")

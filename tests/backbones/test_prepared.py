"""Promises of `backbones.prepared`: a network from the cache is the one that was put there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Recorder
from safetensors.torch import save_file

from finetune.backbones import inference, load, networks, prepared, registry
from finetune.backbones.prepared import (
    CONSTANTS,
    DIGESTS,
    FACTS,
    NETWORK,
    OTHERS,
    TOPOLOGY,
    Prepared,
)
from finetune.records.errors import BackboneError
from finetune.records.options import BackboneOptions
from finetune.storage import cache_usage

NAME = "test_resnet"  # small, with BatchNorm
ALL = {TOPOLOGY, CONSTANTS, NETWORK, OTHERS, FACTS, DIGESTS}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a small network in a file."""
    return checkpoint_of(tmp_path / "weights.safetensors", seed=1)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Prepared]:
    """A checkpoint, the cache that the first run on it left, and what that run used."""
    folder = tmp_path_factory.mktemp("made")
    file = checkpoint_of(folder / "weights.safetensors", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(folder / "cache"))
        return file, folder / "cache", prepare(file)[0]


@pytest.fixture
def kept(made_once: tuple[Path, Path, Prepared], place: Path) -> tuple[Path, Prepared]:
    """A checkpoint whose network lies in this test's cache, and the run that kept it."""
    file, cached, made = made_once
    shutil.copytree(cached, place)
    return file, made


def checkpoint_of(file: Path, seed: int, name: str = NAME) -> Path:
    torch.manual_seed(seed)
    save_file(load.build(name, registry.RANDOM)[0].state(), file)
    return file


def prepare(
    source: Path | str | None,
    name: str = NAME,
    device: str = "cpu",
    paths: list[Path] | None = None,
) -> tuple[Prepared, list[str]]:
    """A backbone made ready, and the notes."""
    heard = Recorder()
    made = prepared.prepare(
        BackboneOptions(name=name, weights=None if source is None else str(source), device=device),
        seed=0,
        paths=paths or [],
        listener=heard,
    )
    return made, heard.notes


def pixels(made: Prepared, count: int = 3) -> np.ndarray:
    side = made.facts.backbone.preprocess.side_px
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def models(place: Path) -> list[Path]:
    return sorted((place / "models").iterdir()) if (place / "models").exists() else []


def from_cache(notes: list[str]) -> bool:
    return any("kept from an earlier run" in note for note in notes)


def test_a_network_from_the_cache_gives_the_same_to_the_bit(checkpoint: Path, place: Path) -> None:
    """Features, BatchNorm shifts, noise, tensors and facts are those of the run that kept it."""
    first, told = prepare(checkpoint)
    second, told_again = prepare(checkpoint)

    assert not from_cache(told)
    assert from_cache(told_again)
    assert {p.name for p in models(place)[0].iterdir()} == ALL
    images = pixels(first)
    assert second.engine.forward(images).tobytes() == first.engine.forward(images).tobytes()
    assert first.shifts is not None
    assert second.shifts is not None
    assert second.shifts.forward(images).tobytes() == first.shifts.forward(images).tobytes()
    assert first.noise is not None
    assert second.noise is not None
    assert second.noise.tobytes() == first.noise.tobytes()
    assert (second.engine.key, second.shifts.key) == (first.engine.key, first.shifts.key)
    assert (second.engine.layout, second.shifts.layout) == (
        first.engine.layout,
        first.shifts.layout,
    )
    assert second.facts == first.facts
    assert set(second.tensors) == set(first.tensors)
    assert all(second.tensors[n].tobytes() == t.tobytes() for n, t in first.tensors.items())
    assert second.device == first.device == "cpu"


def test_the_network_itself_is_loaded_only_when_it_is_asked_for(checkpoint: Path) -> None:
    """The torch module of a cached network is the same as that of a fresh one."""
    first, _ = prepare(checkpoint)
    second, _ = prepare(checkpoint)

    assert "network" not in vars(second)
    assert load.digest(second.network.state()) == load.digest(first.network.state())


def test_the_default_keeps_its_classifier_and_names(place: Path) -> None:
    """Published weights keep what ImageNet's classes are, and the classifier bit by bit."""
    first, _ = prepare(None, registry.DEFAULT)
    second, notes = prepare(None, registry.DEFAULT)

    assert from_cache(notes)
    assert len(second.facts.knows) == 1000
    assert first.classifier is not None
    assert second.classifier is not None
    for one, two in zip(first.classifier, second.classifier, strict=True):
        assert one.tobytes() == two.tobytes()


def test_weights_of_ones_own_know_no_classes(checkpoint: Path) -> None:
    """A classifier out of a user's file is not taken for ImageNet's."""
    for _ in range(2):
        made, _ = prepare(checkpoint)
        assert made.facts.knows == ()
        assert made.classifier is None


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_layout(file: Path) -> None:
    """What no digest of another file would tell: features cut at another place."""
    plain = json.loads(file.read_text("utf-8"))
    plain["layout"]["stem"] = [1, 2]
    file.write_text(json.dumps(plain), "utf-8")


def rewrite_digest(file: Path) -> None:
    file.write_text(file.read_text("utf-8").replace('":"', '":"0', 1), "utf-8")


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{f"a bit of {name}": (name, flip) for name in (TOPOLOGY, CONSTANTS, OTHERS, FACTS)},
    **{f"half of {name}": (name, cut) for name in (CONSTANTS, DIGESTS)},
    **{f"no {name}": (name, Path.unlink) for name in (TOPOLOGY, FACTS, DIGESTS)},
    "another layout": (FACTS, change_layout),
    "another digest": (DIGESTS, rewrite_digest),
    "an empty file": (CONSTANTS, lambda file: file.write_bytes(b"")),
    "a file for the folder": ("", lambda folder: (shutil.rmtree(folder), folder.touch())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_is_noted_dropped_and_made_anew(
    kept: tuple[Path, Prepared], place: Path, damage: str
) -> None:
    """Half written, truncated or tampered with: features are right, and the next run is quick."""
    checkpoint, first = kept
    (folder,) = models(place)
    name, spoil = DAMAGES[damage]
    spoil(folder / name)

    second, notes = prepare(checkpoint)
    images = pixels(first)

    assert not from_cache(notes)
    assert second.engine.forward(images).tobytes() == first.engine.forward(images).tobytes()
    if folder.is_dir():  # not where a file stands in its place, which is nobody's to remove
        assert any(str(folder) in note and "damaged" in note for note in notes)
        assert from_cache(prepare(checkpoint)[1])


@pytest.mark.parametrize("spoil", [flip, cut, Path.unlink])
def test_tensors_that_rot_in_the_cache_come_from_the_source(
    kept: tuple[Path, Prepared], place: Path, spoil: Callable[[Path], object]
) -> None:
    """They are read late, when a run is written; a run gets the right ones all the same."""
    checkpoint, first = kept
    second, notes = prepare(checkpoint)
    (folder,) = models(place)
    spoil(folder / NETWORK)
    notes.clear()

    found = second.tensors

    (note,) = notes
    assert str(folder) in note
    assert all(found[n].tobytes() == t.tobytes() for n, t in first.tensors.items())
    assert set(found) == set(first.tensors)
    assert models(place) == []


def test_another_name_or_other_weights_are_another_network(
    checkpoint: Path, tmp_path: Path, place: Path
) -> None:
    """Names and bytes of the weights make the key; a copy of the file is the same network."""
    other = checkpoint_of(tmp_path / "other.safetensors", seed=2)
    lenet = checkpoint_of(tmp_path / "lenet.safetensors", 1, "lenet5")
    copy = Path(shutil.copy(checkpoint, tmp_path / "copy.safetensors"))

    made = [prepare(checkpoint)[0], prepare(other)[0], prepare(lenet, "lenet5")[0]]
    again, notes = prepare(copy)

    assert len({m.engine.key for m in made}) == 3
    assert len(models(place)) == 3
    assert from_cache(notes)
    assert again.engine.key == made[0].engine.key


def test_the_same_weights_under_another_name_are_another_network(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key has the name, the digest, the packages' versions and the code in it."""
    identity = "d" * 64
    first = prepared._key("a", identity)

    others = {prepared._key("b", identity), prepared._key("a", "e" * 64)}
    monkeypatch.setattr(prepared.importlib.metadata, "version", lambda _: "0")
    others.add(prepared._key("a", identity))

    assert first not in others
    assert len(others) == 3


def test_random_weights_are_never_kept(place: Path) -> None:
    """They are others each time: no key, no folder, no rows."""
    made, _ = prepare(registry.RANDOM)

    assert made.engine.key == ""
    assert made.shifts is not None
    assert made.shifts.key == ""
    assert models(place) == []


def test_a_hubs_weights_are_kept_by_their_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known only once it is fetched is looked up then; other bytes are another network."""
    seed = 1

    def fetched(name: str, _side_px: int | None) -> tuple[torch.nn.Module, str, str]:
        torch.manual_seed(seed)
        return networks.create(name), "hub/x", "apache-2.0"

    monkeypatch.setattr(load, "_from_hub", fetched)

    first, told = prepare(None)
    second, told_again = prepare(None)
    seed = 2
    third, told_third = prepare(None)

    assert [from_cache(notes) for notes in (told, told_again, told_third)] == [False, True, False]
    assert second.engine.key == first.engine.key != third.engine.key
    images = pixels(first)
    assert second.engine.forward(images).tobytes() == first.engine.forward(images).tobytes()
    assert load.digest(second.network.state()) == load.digest(first.network.state())
    assert len(models(place)) == 2


def test_without_a_cache_nothing_is_kept(
    checkpoint: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched off, each run converts for itself, with the same features."""
    kept, _ = prepare(checkpoint)
    monkeypatch.setenv("FINETUNE_CACHE", "off")

    first, notes = prepare(checkpoint)

    assert not from_cache(notes)
    images = pixels(first)
    assert first.engine.forward(images).tobytes() == kept.engine.forward(images).tobytes()


def test_a_full_disk_costs_only_the_keeping(
    checkpoint: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder cannot be written the run goes on and says so."""
    actual = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == NETWORK:
            raise OSError(28, "No space left on device")
        return actual(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)

    made, notes = prepare(checkpoint)

    assert made.engine.graph is not None
    assert models(place) == []
    assert any("not kept for next time" in n and "No space left" in n for n in notes)


def test_a_network_that_openvino_cannot_take_is_not_kept(
    checkpoint: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features are torch's, under torch's key, so that the two never mix."""
    with_openvino, _ = prepare(checkpoint)
    shutil.rmtree(place)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no rule for aten::odd")

    monkeypatch.setattr(inference.openvino(), "convert_model", refuse)
    made, _ = prepare(checkpoint)

    assert made.engine.runtime == "torch"
    assert made.engine.key.endswith(" torch")
    assert made.engine.key != with_openvino.engine.key
    assert models(place) == []


def test_a_checkpoint_that_cannot_be_read_is_a_backbone_error(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to look at it there is no digest, and the fault names the file."""
    actual = Path.stat

    def locked(path: Path, **options: bool) -> object:
        if path == checkpoint:
            raise PermissionError(13, "Permission denied")
        return actual(path, **options)

    monkeypatch.setattr(Path, "stat", locked)

    assert registry.identity(NAME, str(checkpoint)) is None
    with pytest.raises(BackboneError, match=str(checkpoint)):
        prepare(checkpoint)


def test_facts_tell_where_a_network_came_from(checkpoint: Path) -> None:
    """The reason of a kept network is that of the conversion, with how it came here."""
    first, _ = prepare(checkpoint)
    second, _ = prepare(checkpoint)

    assert second.engine.reason == replace(
        first.engine.reason, text=f"{first.engine.reason.text}; kept from an earlier run"
    )


# --- a warm run in a fresh process ----------------------------------------------------------------

WARM = """
import sys
from finetune.cli.process import run
code = run(sys.argv[1:])
print([m for m in ("torch", "torchvision", "timm") if m in sys.modules])
sys.exit(code)
"""


def test_a_warm_probe_needs_no_torch_and_gives_the_same_figures(
    image_folder, run_cli, tmp_path: Path
) -> None:
    """The second training on the same images loads no torch; its figures and model are the same."""
    root = image_folder({"a": 14, "b": 12, "c": 10})
    cold, warm = tmp_path / "cold", tmp_path / "warm"

    first = run_cli("train", root, "--strategy", "linear-probe", "--out", cold)
    done = subprocess.run(
        [
            *(sys.executable, "-c", WARM, "train", str(root)),
            *("--strategy", "linear-probe", "--out", str(warm)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert first.code == 0, first.err
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    one, two = (json.loads((run / "result.json").read_text("utf-8")) for run in (cold, warm))
    for told in (one, two):
        del told["run"], told["seconds"], told["recommendation"]["forecasts"]
    assert one == two
    assert (cold / "model.safetensors").read_bytes() == (warm / "model.safetensors").read_bytes()
    assert (cold / "splits.json").read_bytes() == (warm / "splits.json").read_bytes()
    for name in inference.FILES:
        assert (cold / name).exists()
        assert (warm / name).exists()
    assert cache_usage.usage().images >= 36

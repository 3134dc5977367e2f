"""A training that starts from a run: `--weights RUN` or `--weights RUN/model.safetensors`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Recorder, options_for, train
from safetensors.numpy import load_file, save_file

from finetune.backbones import load, prepared, registry
from finetune.records.codec import to_builtins
from finetune.records.errors import BackboneError, RunError
from finetune.runs import run_folder
from finetune.runs.start import as_start
from finetune.workflows import recommend

NAME = "test_resnet"
PROBE = {"strategy": "linear-probe", "test_fraction": 0.0}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small untrained network on two classes: its body is like no other."""
    from PIL import Image  # noqa: PLC0415 - only here

    folder = tmp_path_factory.mktemp("first")
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / "data" / label).mkdir(parents=True)
        for i in range(6):
            picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(picture).save(folder / "data" / label / f"{i}.png")
    train(folder / "data", folder / "run", backbone=NAME, weights="random", **PROBE)
    return folder / "run"


@pytest.fixture
def three(image_folder: Callable[..., Path]) -> Path:
    """Pictures of one class more."""
    return image_folder({"a": 6, "b": 6, "c": 6}, size=(32, 32))


def body_of(run: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {
        n: t for n, t in load_file(run / run_folder.MODEL).items() if n.startswith(registry.BODY)
    }


@pytest.mark.parametrize("named", ["", run_folder.MODEL], ids=["folder", "file"])
def test_a_run_is_a_start_for_other_classes(
    run_cli: Callable[..., Any], first: Path, three: Path, tmp_path: Path, named: str
) -> None:
    """Its backbone is taken, by name and to the bit, the head is new, the origin is told."""
    out = tmp_path / "second"

    done = run_cli(
        *("train", three, "--weights", first / named, "--out", out),
        *("--strategy", "linear-probe", "--test-fraction", 0),
    )

    assert done.code == 0, done.err
    facts = run_folder.load(out).facts
    assert facts.classes == ("a", "b", "c")
    assert facts.backbone.name == NAME
    assert facts.backbone.weights == "run run (linear-probe), from random"
    assert facts.backbone.licence == "none (untrained)"
    mine, its = body_of(out), body_of(first)
    assert mine.keys() == its.keys()
    assert all(mine[name].tobytes() == tensor.tobytes() for name, tensor in its.items())
    assert "from run run (linear-probe), from random" in done.err


@pytest.mark.parametrize("command", ["train", "recommend", "compare"])
def test_another_backbone_than_the_runs_is_refused_before_any_image_is_read(
    run_cli: Callable[..., Any], first: Path, three: Path, command: str
) -> None:
    """Named by the user it is not silently replaced; the message says which the run has."""
    done = run_cli(command, three, "--weights", first, "--backbone", "resnet18")

    assert done.code == 3
    assert f"{first} is a run of {NAME}, not of resnet18" in done.err
    assert f"the run's, {NAME}" in done.err
    assert "reading and checking" not in done.err


def test_a_run_starts_recommend_and_compare(first: Path, three: Path) -> None:
    """All three commands that learn take it, and say once that ImageNet is not what it saw last."""
    request = options_for(
        root=str(three), backbone=NAME, weights=str(first), strategy="linear-probe"
    )
    heard = Recorder()

    advice = recommend.run_recommendation(request, heard)

    assert advice.looked_at > 0
    assert sum("from run run (linear-probe), from random" in note for note in heard.notes) == 1
    assert sum(prepared.TUNED_BODY in note for note in heard.notes) == 1


def test_a_run_of_a_run_tells_of_both(first: Path, three: Path, tmp_path: Path) -> None:
    """Where the weights came from goes back to the first."""
    for start, out in ((first, "second"), (tmp_path / "second", "third")):
        train(three, tmp_path / out, backbone=NAME, weights=str(start), **PROBE)

    told = run_folder.load_facts(tmp_path / "third").backbone.weights

    assert told == "run second (linear-probe), from run run (linear-probe), from random"


def test_a_run_is_never_taken_for_imagenets_weights(first: Path) -> None:
    """Its classifier is gone, so nothing is compared with ImageNet's classes."""
    origin = as_start(str(first))
    assert origin is not None

    backbone, facts = load.build(NAME, str(first), origin)

    assert not load.pretrained_on_imagenet(backbone, facts)
    assert facts.digest == run_folder.load_facts(first).backbone.digest


def test_the_tensors_of_a_run_alone_are_a_checkpoint(first: Path, tmp_path: Path) -> None:
    """Copied out of the run, the file still starts a training; nobody knows its licence then."""
    alone = tmp_path / "body.safetensors"
    shutil.copy(first / run_folder.MODEL, alone)
    assert as_start(str(alone)) is None

    _, facts = load.build(NAME, str(alone))

    assert facts.weights == "file body.safetensors"
    assert facts.digest == run_folder.load_facts(first).backbone.digest


def test_what_is_kept_goes_by_the_weights_of_a_run(first: Path, tmp_path: Path) -> None:
    """The same run under the same name has the same key; other weights or words have another."""
    same = shutil.copytree(first, tmp_path / "one" / "run")
    changed = shutil.copytree(first, tmp_path / "two" / "run")
    tensors = load_file(changed / run_folder.MODEL)
    name = next(n for n, t in tensors.items() if n.startswith(registry.BODY) and t.ndim == 4)
    save_file(tensors | {name: tensors[name] + 1}, changed / run_folder.MODEL)

    found = [registry.identity(NAME, str(r), as_start(str(r))) for r in (first, same, changed)]

    assert found[0] == found[1]
    assert found[0] != found[2]
    relicensed = replace(origin_of(first), licence="another")
    assert registry.identity(NAME, str(first), relicensed) != found[0]


def origin_of(run: Path) -> Any:
    origin = as_start(str(run))
    assert origin is not None
    return origin


def test_a_run_whose_tensors_lie_elsewhere_is_refused(first: Path, tmp_path: Path) -> None:
    """A stranger's run whose file is a link out of its folder is not read."""
    bad = shutil.copytree(first, tmp_path / "bad")
    (bad / run_folder.MODEL).unlink()
    (bad / run_folder.MODEL).symlink_to(first / run_folder.MODEL)

    with pytest.raises(BackboneError, match="outside"):
        load.build(NAME, str(bad), origin_of(bad))


def test_a_run_that_promises_a_larger_network_makes_none(first: Path, tmp_path: Path) -> None:
    """The name in a stranger's run.json builds nothing before its tensors are seen to fit."""
    bad = shutil.copytree(first, tmp_path / "bad")
    facts = run_folder.load_facts(bad)
    facts = replace(facts, backbone=replace(facts.backbone, name="vit_giant_patch14_224"))
    (bad / run_folder.FACTS).write_text(json.dumps(to_builtins(facts)), "utf-8")

    with pytest.raises(BackboneError, match="does not fit the backbone"):
        load.build("vit_giant_patch14_224", str(bad), origin_of(bad))


def test_a_damaged_run_is_no_start(first: Path, tmp_path: Path) -> None:
    """What cannot be read is told with its file, and nothing else is taken in its place."""
    bad = shutil.copytree(first, tmp_path / "bad")
    (bad / run_folder.FACTS).write_text("{", "utf-8")

    with pytest.raises(RunError, match=r"cannot read .*run\.json"):
        as_start(str(bad / run_folder.MODEL))


@pytest.mark.parametrize("kind", ["nowhere", "folder"])
def test_weights_that_are_not_there_are_refused_before_any_image_is_read(
    run_cli: Callable[..., Any], three: Path, kind: str
) -> None:
    """No file, or a folder that is no run: told at once, with what may be given."""
    given = three / "nowhere" if kind == "nowhere" else three

    done = run_cli("train", three, "--weights", given)

    assert done.code == 3
    assert ("no weights at" if kind == "nowhere" else "not a finished run") in done.err
    assert str(given) in done.err
    assert "reading and checking" not in done.err


def test_scratch_takes_no_weights(run_cli: Callable[..., Any], first: Path, three: Path) -> None:
    """Random values are the point of it: a start that would be ignored is refused."""
    done = run_cli("train", three, "--strategy", "scratch", "--weights", first)

    assert done.code == 2
    assert "--strategy scratch" in done.err

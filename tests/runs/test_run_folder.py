from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from examples import FACTS, HISTORY, RESULT, SPLITS
from safetensors.numpy import load_file, save_file

from finetune.backbones import inference
from finetune.metrics import classification
from finetune.records.choices import MOST_CLASSES, SCHEMA_VERSION
from finetune.records.codec import from_json
from finetune.records.dataset import Finding, Sample, Splits
from finetune.records.errors import DataError, RunError
from finetune.records.metrics import WrongAnswer
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.runs import listing, result_file, run_folder, run_tensors

FILES = {
    "run.json",
    "result.json",
    "splits.json",
    "history.jsonl",
    "report.html",
    "model.safetensors",
}
NETWORK = (b"<net/>", b"weights")
NOW = datetime(2026, 1, 2, 3, 4, 5)


def tensors() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A backbone's tensors with values that rounding would change, and a head for two classes."""
    rng = np.random.default_rng(0)
    odd = np.array([np.nan, -0.0, np.inf, 1e-45, 0.1], np.float32)
    backbone = {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.running_mean": odd,
        "bn.num_batches_tracked": np.array(7),
        "half": rng.normal(size=(2, 5)).astype(np.float16),
        "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    }
    return backbone, rng.normal(size=(2, 7)).astype(np.float32), np.zeros(2, np.float32)


def save(
    path: Path,
    facts: RunFacts = FACTS,
    network: tuple[bytes, bytes] | None = None,
    *,
    over: bool = False,
) -> Path:
    """Write a small run."""
    run_folder.save(
        path,
        facts,
        RESULT,
        tensors=run_tensors.pack(*tensors()),
        history=HISTORY,
        splits=SPLITS,
        report="<!doctype html>± ü",
        aside=path.with_name(".aside"),
        replaced=path.with_name(".before") if over else None,
        network=network,
    )
    return path


def edit_json(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change to a JSON file of a run."""

    def apply(run: Path) -> None:
        plain = json.loads((run / name).read_text("utf-8"))
        (run / name).write_text(json.dumps(plain | changes), "utf-8")

    return apply


def edit_model(**tensors: np.ndarray) -> Callable[[Path], None]:
    """Give the model a head of other tensors: `weight`, `bias` or both."""

    def apply(run: Path) -> None:
        model = load_file(run / "model.safetensors")
        model |= {f"head.{name}": tensor for name, tensor in tensors.items()}
        save_file(model, run / "model.safetensors")

    return apply


def edit_head(classes: int) -> Callable[[Path], None]:
    """Give the model a head for another number of classes."""
    zeros = np.zeros(classes, np.float32)
    return edit_model(weight=np.zeros((classes, 7), np.float32), bias=zeros)


def drop_tensor(name: str) -> Callable[[Path], None]:
    """Take a tensor out of the model."""

    def apply(run: Path) -> None:
        model = load_file(run / "model.safetensors")
        del model[name]
        save_file(model, run / "model.safetensors")

    return apply


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    """Replace a file's bytes."""
    return lambda run: (run / name).write_bytes(content) and None


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    """Cut a file off, as a full disk would."""

    def apply(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(keep * len(content))])

    return apply


def overwrite_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace a part of a text file."""

    def apply(run: Path) -> None:
        text = (run / name).read_text("utf-8")
        assert old in text
        (run / name).write_text(text.replace(old, new), "utf-8")

    return apply


def edit_text(name: str, entry: str) -> Callable[[Path], None]:
    """Put an entry before the others of a JSON file."""

    def apply(run: Path) -> None:
        text = (run / name).read_text("utf-8")
        (run / name).write_text("{" + entry + "," + text[1:], "utf-8")

    return apply


def enlarge(name: str, size: int) -> Callable[[Path], None]:
    """Give a file a hole at its end, which takes no room on the disk."""

    def apply(run: Path) -> None:
        os.truncate(run / name, size)

    return apply


def bfloat16_head(run: Path) -> None:
    """Call the tensors of the model what numpy does not know."""
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content.replace(b'"dtype":"F16"', b'"dtype":"BF16"'))
    shift = len((run / "model.safetensors").read_bytes()) - len(content)
    length = int.from_bytes(content[:8], "little") + shift
    changed = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(length.to_bytes(8, "little") + changed[8:])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no run.json": lambda run: (run / "run.json").unlink(),
    "no model": lambda run: (run / "model.safetensors").unlink(),
    "empty model": overwrite("model.safetensors", b""),
    "half a model": truncate("model.safetensors", 0.5),
    "a model but for its last byte": truncate("model.safetensors", 0.999),
    "a model that is text": overwrite("model.safetensors", b"hello " * 100),
    "too many classes in the head": edit_head(3),
    "too few classes in the head": edit_head(1),
    "a weight that is one number": edit_model(weight=np.ones((), np.float32)),
    "a weight that is a row": edit_model(weight=np.zeros(2, np.float32)),
    "a bias too long": edit_model(bias=np.zeros(3, np.float32)),
    "a bias too short": edit_model(bias=np.zeros(1, np.float32)),
    "a weight that is no number": edit_model(weight=np.full((2, 7), np.nan, np.float32)),
    "a temperature of zero": edit_json("run.json", head={"taps": ["top"], "temperature": 0.0}),
    "no head": drop_tensor("head.weight"),
    "no bias": drop_tensor("head.bias"),
    "empty run.json": overwrite("run.json", b""),
    "half a run.json": truncate("run.json", 0.5),
    "run.json that is no JSON": overwrite("run.json", b"\x00\xffgarbage"),
    "run.json of another kind": overwrite("run.json", b"[1, 2, 3]"),
    "run.json with a value out of place": edit_json("run.json", strategy="magic"),
    "a newer schema": edit_json("run.json", schema_version=SCHEMA_VERSION + 1),
    "an older schema": edit_json("run.json", schema_version=SCHEMA_VERSION - 1),
    "nothing at all": shutil.rmtree,
    "a class twice": edit_json("run.json", classes=["a", "a"]),
    "no class": edit_json("run.json", classes=[]),
    "ten thousand and one classes": edit_json("run.json", classes=[str(i) for i in range(10_001)]),
    "pictures of a gigapixel": edit_json(
        "run.json", preprocess={"side_px": 32_000, "mean": [0, 0, 0], "std": [1, 1, 1]}
    ),
    "a temperature below zero": edit_json("run.json", head={"taps": ["top"], "temperature": -1}),
    "a temperature without end": overwrite_text(
        "run.json", '"temperature": 1.25', '"temperature": 1e999'
    ),
    "JSON of a hundred thousand brackets": edit_text("run.json", '"x": ' + "[" * 100_000),
    "a run.json that says it is huge": enlarge("run.json", 10**12),
    "a model that says it is huge": enlarge("model.safetensors", 10**12),
    "a header that says it is huge": overwrite("model.safetensors", b"\xff" * 8 + b"{}"),
    "a head in double precision": edit_model(
        weight=np.zeros((2, 7), np.float64), bias=np.zeros(2, np.float64)
    ),
    "a head of numbers that numpy lacks": bfloat16_head,
}


def test_a_run_is_exactly_its_files(tmp_path: Path) -> None:
    """Saving leaves the six files of a run, and nothing beside the folder."""
    run = save(tmp_path / "below" / "run")

    assert {p.name for p in run.iterdir()} == FILES
    assert [p.name for p in run.parent.iterdir()] == ["run"]


def test_an_inference_file_is_two_more_files(tmp_path: Path) -> None:
    """With a network a run has eight files, and run.json the digests of the two."""
    run = save(tmp_path / "run", network=NETWORK)

    facts = run_folder.load_facts(run)
    assert {p.name for p in run.iterdir()} == FILES | set(inference.FILES)
    assert facts.inference == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in zip(inference.FILES, NETWORK, strict=True)
    }
    assert run_folder.load_network(run, facts) == NETWORK
    assert replace(facts, inference={}) == FACTS


def test_a_run_of_an_older_version_has_no_network(tmp_path: Path) -> None:
    """A run.json that knows nothing of inference files is read; files it does not name are not."""
    run = save(tmp_path / "run", network=NETWORK)
    plain = json.loads((run / "run.json").read_text("utf-8"))
    del plain["inference"]
    (run / "run.json").write_text(json.dumps(plain), "utf-8")

    facts = run_folder.load_facts(run)

    assert facts == FACTS
    assert run_folder.load_network(run, facts) is None


def test_both_files_of_a_network_may_be_deleted(tmp_path: Path) -> None:
    """Without the two the run is as good, only slower: that is no fault."""
    run = save(tmp_path / "run", network=NETWORK)
    for name in inference.FILES:
        (run / name).unlink()

    assert run_folder.load_network(run, run_folder.load_facts(run)) is None
    assert run_folder.load(run).weight.shape == (2, 7)


@pytest.mark.parametrize("name", inference.FILES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b" "),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["missing", "empty", "truncated", "longer", "a folder"],
)
def test_a_damaged_network_is_a_run_error_naming_the_file(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """One of the two missing or with other bytes is told with its path and a way on."""
    run = save(tmp_path / "run", network=NETWORK)
    damage(run / name)

    with pytest.raises(RunError) as caught:
        run_folder.load_network(run, run_folder.load_facts(run))

    assert str(run / name) in caught.value.message
    assert "delete inference.xml and inference.bin" in caught.value.hint


def test_exchanged_networks_are_refused(tmp_path: Path) -> None:
    """The network of another run does not pass for this one's."""
    run = save(tmp_path / "run", network=NETWORK)
    other = save(tmp_path / "other", network=(b"<net/>", b"WEIGHTS"))
    shutil.copy(other / "inference.bin", run / "inference.bin")

    with pytest.raises(RunError, match=r"inference\.bin is not the file that training wrote"):
        run_folder.load_network(run, run_folder.load_facts(run))


def test_what_was_saved_is_what_is_read(tmp_path: Path) -> None:
    """Facts, result, splits, history and report come back equal."""
    run = save(tmp_path / "run")

    assert run_folder.load(run).facts == FACTS
    assert run_folder.load(run).path == run
    assert run_folder.load_splits(run) == SPLITS
    assert from_json((run / "result.json").read_bytes(), RunResult) == RESULT
    lines = (run / "history.jsonl").read_bytes().splitlines()
    assert tuple(from_json(line, EpochRecord) for line in lines) == HISTORY
    assert (run / "report.html").read_text("utf-8") == "<!doctype html>± ü"


def large_result(classes: int, images: int) -> RunResult:
    """A result of many classes with the longest names, answered by chance."""
    names = tuple(f"{i:05d}" + "ü" * 125 for i in range(classes))
    rng = np.random.default_rng(0)
    labels, called = rng.integers(0, classes, (2, images))
    sure = rng.random(images)
    metrics = classification.summary(
        classification.Answers(labels, called, sure, -np.log(sure)), names
    )
    errors = tuple(
        WrongAnswer(f"{names[k]}/{i:08d}.jpg", names[k], names[j], float(p))
        for i, (k, j, p) in enumerate(zip(labels, called, sure, strict=True))
        if k != j
    )
    paths = tuple(f"{names[k]}/{i:08d}.jpg" for i, k in enumerate(labels.tolist()))
    finding = Finding("FT134", "warning", f"{images} images are tiny", "Nothing.", paths)
    return replace(
        RESULT,
        classes=names,
        test=metrics,
        estimate=metrics,
        errors=errors,
        findings=(finding,) * 3,
    )


def save_result(path: Path, result: RunResult) -> RunResult:
    """Write a run with a result, and read that back."""
    run_folder.save(
        path,
        FACTS,
        result,
        tensors=run_tensors.pack({}, np.zeros((2, 7), np.float32), np.zeros(2, np.float32)),
        history=HISTORY,
        splits=SPLITS,
        report="",
        aside=path.with_name(".aside"),
    )
    return run_folder.load_result(path)


def test_a_result_of_ten_thousand_classes_can_be_read(tmp_path: Path) -> None:
    """With the most classes a run may have, and answers all over, it is read as it was."""
    result = large_result(MOST_CLASSES, 2_000)

    assert save_result(tmp_path / "run", result) == result


def test_a_result_that_is_too_long_is_cut_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists that grow with the images are cut to what is read of a file, the figures are kept."""
    monkeypatch.setattr(result_file, "MOST_FACTS_BYTES", 600_000)
    monkeypatch.setattr(result_file, "PRETTY_CHARS", 0)
    result = large_result(200, 8_000)

    found = save_result(tmp_path / "run", result)

    assert (tmp_path / "run" / "result.json").stat().st_size <= 600_000
    assert found.errors == result.errors[: len(found.errors)] != ()
    assert found.findings[0].title == "8000 images are tiny"
    assert found.test is not None
    assert result.test is not None
    assert set(found.test.cells) <= set(result.test.cells)
    assert replace(found.test, cells=()) == replace(result.test, cells=())


def test_a_list_of_images_that_could_not_be_read_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More images than `splits.json` may hold are told with a way on; one byte less is not."""
    splits = Splits(tuple(Sample(f"a/{i}.png", 0, "d" * 64) for i in range(100)), (), ())
    size = len(json.dumps(msgspec.to_builtins(splits), separators=(",", ":")))
    monkeypatch.setattr(run_folder, "MOST_SPLITS_BYTES", size)

    run_folder.require_room(splits)
    monkeypatch.setattr(run_folder, "MOST_SPLITS_BYTES", size - 200)
    with pytest.raises(DataError, match="100 images are too many") as caught:
        run_folder.require_room(splits)

    assert "--max-per-class" in caught.value.hint


def test_a_result_without_the_newer_fields_is_read(tmp_path: Path) -> None:
    """A run of an older version has no wrong answers, no verdict, and the whole matrix."""
    run = save(tmp_path / "run")
    old = json.loads((run / "result.json").read_text("utf-8"))
    for name in ("errors", "better_than_commonest", "verdict"):
        del old[name]
    for metrics in (old["test"], old["estimate"]):
        del metrics["cells"]
    (run / "result.json").write_text(json.dumps(old), "utf-8")

    found = run_folder.load_result(run)

    assert found == replace(RESULT, errors=(), better_than_commonest=None, verdict="")


def test_tensors_come_back_bit_by_bit(tmp_path: Path) -> None:
    """Names, shapes, kinds and every bit of the model's tensors survive."""
    backbone, weight, bias = tensors()

    loaded = run_folder.load(save(tmp_path / "run"))

    assert set(loaded.backbone) == set(backbone)
    for name, tensor in backbone.items():
        assert loaded.backbone[name].shape == tensor.shape
        assert loaded.backbone[name].dtype == tensor.dtype
        assert loaded.backbone[name].tobytes() == tensor.tobytes()
    assert loaded.weight.tobytes() == weight.tobytes()
    assert loaded.bias.tobytes() == bias.tobytes()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), OSError("broken")])
def test_a_failure_while_writing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    """A run is whole or absent: after a fault there is neither a folder nor a part of one."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(run_folder, "serialised", fail)

    with pytest.raises(RunError, match=str(fault.strerror or fault)) as caught:
        save(tmp_path / "run")

    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path / "run") in caught.value.message
    assert caught.value.hint


def test_an_interruption_while_writing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C passes through, and the unfinished folder is gone."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "serialised", interrupt)

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "run")

    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_written_over_another(tmp_path: Path) -> None:
    """Where the place was taken meanwhile, saving fails and the first run stays as it was."""
    run = save(tmp_path / "run")

    with pytest.raises(RunError, match="cannot write"):
        save(run, replace(FACTS, seed=99))

    assert run_folder.load(run).facts == FACTS
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_place_that_cannot_be_a_folder_is_a_run_error(tmp_path: Path) -> None:
    """A file where a folder is needed is named with a hint."""
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="cannot write") as caught:
        save(tmp_path / "file" / "run")

    assert "--out" in caught.value.hint


def test_out_may_be_new_or_empty(tmp_path: Path) -> None:
    """A folder that is not there or holds nothing is accepted and becomes the run."""
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        path = run_folder.choose_folder(str(tmp_path / name), Path("data"), "deep", NOW)

        assert path == tmp_path / name
        assert run_folder.load(save(path)).facts == FACTS


@pytest.mark.parametrize("kind", ["folder with a file", "file"])
def test_out_that_is_taken_is_refused(tmp_path: Path, kind: str) -> None:
    """A folder that holds something, or a file, is never written to."""
    taken = tmp_path / "taken"
    if kind == "file":
        taken.write_text("mine")
    else:
        taken.mkdir()
        (taken / "mine.txt").write_text("mine")

    with pytest.raises(RunError, match="exists already") as caught:
        run_folder.choose_folder(str(taken), Path("data"), "deep", NOW)

    assert str(taken) in caught.value.message
    assert "--out" in caught.value.hint


def test_default_names_tell_date_data_and_strategy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--out` a run goes below `runs/`, named after when, what and how."""
    monkeypatch.chdir(tmp_path)

    path = run_folder.choose_folder(None, Path("photos/trees"), "deep", NOW)

    assert path == Path("runs/20260102-030405-trees-deep")


def test_default_names_of_long_folders_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data folder with a name as long as names may be leaves room for the rest."""
    monkeypatch.chdir(tmp_path)

    path = save(run_folder.choose_folder(None, Path("d" * 255), "deep", NOW))

    assert run_folder.load(path).facts == FACTS


def test_a_name_too_long_is_a_run_error() -> None:
    """What the system refuses to look at is told without a traceback."""
    with pytest.raises(RunError, match="cannot use") as caught:
        run_folder.choose_folder("b" * 300, Path("data"), "deep", NOW)

    assert "--out" in caught.value.hint


def test_names_that_are_no_utf8_can_be_saved(tmp_path: Path) -> None:
    """A stray surrogate in a name does not lose a finished training."""
    run = tmp_path / "run"
    finding = Finding("FT104", "note", "1 file", "Nothing.", ("\udcff.txt",))

    run_folder.save(
        run,
        replace(FACTS, data_root="/d\udcff"),
        replace(RESULT, findings=(finding,)),
        tensors=run_tensors.pack(*tensors()),
        history=(),
        splits=SPLITS,
        report="\udcff",
        aside=tmp_path / ".aside",
    )

    assert {p.name for p in run.iterdir()} == FILES
    assert r"/d\udcff" in (run / "run.json").read_text("utf-8")


def test_files_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """Under a locale of plain ASCII a run has the same bytes."""
    script = "import sys, pathlib, test_run_folder; test_run_folder.save(pathlib.Path(sys.argv[1]))"
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    here = Path(__file__)
    path = os.pathsep.join(map(str, [here.parent, *here.parents[1:3]]))
    env = os.environ | plain | {"PYTHONPATH": path}

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ascii")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    usual = save(tmp_path / "usual")
    for name in FILES:
        assert (tmp_path / "ascii" / name).read_bytes() == (usual / name).read_bytes()


def test_default_names_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs of the same second get three folders."""
    monkeypatch.chdir(tmp_path)

    paths = [save(run_folder.choose_folder(None, Path("trees"), "deep", NOW)) for _ in range(3)]

    assert len(set(paths)) == 3
    assert {p.name for p in Path("runs").iterdir()} == {p.name for p in paths}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_run_is_a_run_error_with_a_hint(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Whatever is missing or broken, loading names the run and says what to do."""
    run = save(tmp_path / "run")
    damage(run)

    with pytest.raises(RunError) as caught:
        run_folder.load(run)

    assert str(run) in caught.value.message
    assert len(caught.value.hint) > 10
    assert caught.value.exit_code == 3


def test_another_schema_version_is_named(tmp_path: Path) -> None:
    """The error has the version found and the one that can be read."""
    run = save(tmp_path / "run")
    edit_json("run.json", schema_version=SCHEMA_VERSION + 6)(run)

    with pytest.raises(RunError) as caught:
        run_folder.load(run)

    assert f"version {SCHEMA_VERSION + 6}" in caught.value.message
    assert str(SCHEMA_VERSION) in caught.value.message


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"train": [], "val": []}', b'"\xff"'])
def test_damaged_splits_are_a_run_error(tmp_path: Path, content: bytes | None) -> None:
    """Splits that are missing, empty or of another shape are named."""
    run = save(tmp_path / "run")
    (run / "splits.json").unlink()
    if content is not None:
        (run / "splits.json").write_bytes(content)

    with pytest.raises(RunError, match=r"splits\.json"):
        run_folder.load_splits(run)


@pytest.mark.parametrize(
    "content",
    [
        '{"path": "../../etc/passwd", "label": 0, "digest": ""}',
        '{"path": "/etc/passwd", "label": 0, "digest": ""}',
        '{"path": "a/\\u0000.png", "label": 0, "digest": ""}',
        '{"path": "a/1.png", "label": -1, "digest": ""}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_splits_that_lead_out_of_the_data_are_a_run_error(
    tmp_path: Path, content: str, part: str
) -> None:
    """No name with `..`, no absolute one, no label that cannot be, in any of the three lists."""
    run = save(tmp_path / "run")
    parts = {name: content if name == part else "" for name in ("train", "val", "test")}
    text = ", ".join(f'"{name}": [{sample}]' for name, sample in parts.items())
    (run / "splits.json").write_text(f"{{{text}}}", "utf-8")

    with pytest.raises(RunError, match=r"splits\.json") as caught:
        run_folder.load_splits(run)

    assert caught.value.hint


LINKS = {
    "a link out": lambda file, secret: file.symlink_to(secret),
    "a pipe": lambda file, _: os.mkfifo(file),
    "a device": lambda file, _: file.symlink_to("/dev/zero"),
    "a loop": lambda file, _: file.symlink_to(file.name),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("name", ["run.json", "model.safetensors", "splits.json", *inference.FILES])
def test_no_part_of_a_run_is_read_from_elsewhere(tmp_path: Path, name: str, kind: str) -> None:
    """A link out of the folder, to a device or to itself, or a pipe: refused without waiting."""
    run = save(tmp_path / "run", network=NETWORK)
    secret = tmp_path / "secret"
    shutil.copy(run / name, secret)
    (run / name).unlink()
    LINKS[kind](run / name, secret)

    def read_all() -> None:
        facts = run_folder.load(run).facts
        run_folder.load_splits(run)
        run_folder.load_network(run, facts)

    with pytest.raises(RunError) as caught:
        read_all()

    assert str(run / name) in caught.value.message


def test_a_run_folder_may_be_a_link(tmp_path: Path) -> None:
    """Where a run itself lies is the user's business, as are links inside it."""
    run = save(tmp_path / "run", network=NETWORK)
    (run / "model.safetensors").rename(run / "real")
    (run / "model.safetensors").symlink_to("real")
    (tmp_path / "link").symlink_to(run)

    assert run_folder.load(tmp_path / "link").facts == run_folder.load_facts(run)


def test_a_folder_that_cannot_be_listed_is_a_run_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to look into it, the folder is named."""

    def locked(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)

    with pytest.raises(RunError, match=f"{tmp_path}: Permission denied"):
        listing.rows(tmp_path)


@pytest.mark.parametrize("path", ["r" * 300, "a\0b", "run.json/x"])
def test_a_place_that_cannot_be_is_no_run(path: str) -> None:
    """A name too long or of bytes that cannot be is told like one that is not there."""
    with pytest.raises(RunError, match="no run at"):
        run_folder.load_facts(Path(path))


def four_runs(home: Path) -> None:
    """Two good runs, a damaged one, an unfinished one, and a file that is none."""
    save(home / "z-older", replace(FACTS, created="2026-01-01T00:00:00.000000+00:00"))
    save(home / "a-newer", replace(FACTS, created="2026-01-03T00:00:00.000000+00:00"))
    damaged = replace(FACTS, created="2026-01-04T00:00:00.000000+00:00")
    truncate("run.json", 0.9)(save(home / "damaged", damaged))
    hidden = replace(FACTS, created="2026-01-05T00:00:00.000000+00:00")
    save(home / ".unfinished.x1", hidden)
    (home / "notes.txt").write_text("mine")


def test_the_latest_is_the_newest_readable_run(tmp_path: Path) -> None:
    """By the time it was made, not by name; hidden and damaged folders do not count."""
    four_runs(tmp_path)

    assert listing.latest(tmp_path) == tmp_path / "a-newer"


def test_runs_are_listed_newest_first_with_the_damaged_ones_fault(tmp_path: Path) -> None:
    """Each visible folder is a row; what cannot be read says why."""
    four_runs(tmp_path)

    good, damaged = listing.rows(tmp_path)[:2], listing.rows(tmp_path)[2:]

    assert [r.run for r in good] == [str(tmp_path / n) for n in ("a-newer", "z-older")]
    assert [r.error for r in good] == [None, None]
    assert (good[0].strategy, good[0].backbone) == ("partial", "tf_efficientnet_lite0")
    assert (good[0].classes, good[0].accuracy) == (2, 0.875)
    assert good[0].accuracy_source == "8 test images"
    assert [r.run for r in damaged] == [str(tmp_path / "damaged")]
    assert "run.json" in str(damaged[0].error)


@pytest.mark.parametrize("prepare", [lambda _: None, lambda p: p.mkdir(), lambda p: p.touch()])
def test_where_there_is_no_run_none_is_latest(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    """No folder, an empty one or a file: no rows, and a run error with what to do."""
    home = tmp_path / "runs"
    prepare(home)

    assert listing.rows(home) == []
    with pytest.raises(RunError, match="no run in") as caught:
        listing.latest(home)
    assert "finetune train" in caught.value.hint

"""Promises of `finetune.data.scales`: pictures of one set are scaled alike, and for good."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Recorder, options_for, small_run, train
from PIL import Image

from finetune.backbones import features
from finetune.backbones.inference import Engine
from finetune.data import examination, scales
from finetune.pictures import decoding
from finetune.records.analysis import Reason
from finetune.records.dataset import Scale, Splits
from finetune.records.errors import DataError
from finetune.runs import run_folder
from finetune.sources import containers, files
from finetune.workflows import predict

Made = tuple[Path, Splits, tuple[Scale, ...]]


def sixteen(source: Path, target: Path, low: int = 300, high: int = 4000) -> Path:
    """The pictures of a folder in grey of 16 bits, 0 at `low` and 255 at `high`."""
    for path in sorted(source.rglob("*.png")):
        with Image.open(path) as image:
            values = np.asarray(image.convert("L"), float) / 255 * (high - low) + low
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint16)).save(place)
    return target


def decided(root: Path) -> Made:
    found = examination.examine(options_for(root=str(root)).data, 0, lambda *_: None)
    made = scales.decide(root, found.splits.fitting, found.looked.glances)
    return root, found.splits, made


def values(root: Path, paths: list[str]) -> np.ndarray:
    parts = [np.asarray(Image.open(root / path)) for path in paths]
    return np.concatenate([part.reshape(-1) for part in parts])


def test_the_scale_is_that_of_all_training_images(image_folder, tmp_path: Path) -> None:
    """The percentiles of their values together; those of the test are not asked."""
    root, splits, (scale,) = decided(sixteen(image_folder({"a": 12, "b": 12}), tmp_path / "wide"))

    seen = values(root, [s.path for s in splits.fitting])
    assert (scale.black, scale.white) == pytest.approx(np.quantile(seen, (0.001, 0.999)), abs=1)
    assert (scale.kind, scale.images) == ("16-bit", len(splits.fitting))
    assert (
        f"the 0.1 and 99.9 percentiles of {len(splits.fitting)} training pictures" in scale.reason
    )
    (finding,) = scales.findings([scale])
    assert (finding.code, finding.severity, finding.title) == ("FT127", "note", scale.reason)


def test_a_test_image_moves_no_scale(image_folder, tmp_path: Path) -> None:
    """However bright it is: it is not asked."""
    root, splits, before = decided(sixteen(image_folder({"a": 12, "b": 12}), tmp_path / "wide"))
    found = examination.examine(options_for(root=str(root)).data, 0, lambda *_: None)
    for sample in splits.test:
        Image.fromarray(np.full((32, 40), 65535, np.uint16)).save(root / sample.path)

    assert scales.decide(root, splits.fitting, found.looked.glances) == before


def test_a_hot_pixel_in_each_picture_moves_no_scale(image_folder, tmp_path: Path) -> None:
    """One of 1,280 is less than the thousandth that is left out at either end."""
    root = sixteen(image_folder({"a": 12, "b": 12}, size=(64, 40)), tmp_path / "wide")
    _, _, (before,) = decided(root)
    for path in root.rglob("*.png"):
        hot = np.array(Image.open(path))
        hot[0, 0] = 65535
        Image.fromarray(hot).save(path)

    _, _, (after,) = decided(root)

    assert after.white == pytest.approx(before.white, rel=0.02)


def test_pictures_of_8_bits_need_no_scale(image_folder) -> None:
    """And are decoded as ever."""
    root, splits, made = decided(image_folder({"a": 6, "b": 6}))

    path = root / splits.train[0].path
    assert made == ()
    assert (decoding.decode(path, 32, made) == decoding.decode(path, 32)).all()


def test_known_features_are_those_of_the_same_scale(image_folder, tmp_path: Path) -> None:
    """Another scale is another picture: what is kept of the first does not come back."""
    root = sixteen(image_folder({"a": 3}), tmp_path / "wide")
    paths = sorted(root.rglob("*.png"))
    digests = [files.digest_file(path) for path in paths]
    engine = Engine(
        lambda pixels: pixels.mean((1, 2), dtype=np.float32), {"top": (0, 3)}, "", Reason("", "")
    )
    engine = replace(engine, key="scales")
    one, two = Scale("16-bit", 0, 4000, 3, ""), Scale("16-bit", 0, 8000, 3, "")

    tables = [
        features.extract(paths, engine, 16, Recorder(), digests, known)
        for known in ((one,), (two,), (one,), None)
    ]

    means = [float(table.rows[:].mean()) for table in tables]
    assert means[0] == pytest.approx(2 * means[1], rel=0.02)
    assert means[2] == means[0]
    assert len({round(mean, 3) for mean in means}) == 3


def test_a_run_keeps_its_scale_and_a_bright_pixel_changes_no_answer(
    image_folder, tmp_path: Path
) -> None:
    """Training, its test, `predict` and `evaluate` see the same; the report has it."""
    root = sixteen(image_folder({"a": 14, "b": 14}, size=(64, 48)), tmp_path / "wide")
    out = tmp_path / "run"

    result = train(root, out, strategy="linear-probe")

    (scale,) = run_folder.load_facts(out).preprocess.scales or ()
    assert scale.reason in [f.title for f in result.findings]
    assert scale.reason.split(",")[0] in (out / "report.html").read_text("utf-8")
    assert run_folder.load_facts(out).backbone.preprocess.scales is None
    path = root / run_folder.load_splits(out).test[0].path
    hot = np.array(Image.open(path))
    hot[0, 0] = 4100
    Image.fromarray(hot).save(tmp_path / "hot.png")
    listener = Recorder()
    cold, warm = predict.run_prediction(
        [path, tmp_path / "hot.png"], out, top=2, device="cpu", listener=listener
    )
    assert cold.label == warm.label
    assert warm.probability == pytest.approx(cold.probability, abs=0.02)
    assert not any("trained on none" in note for note in listener.notes)


def test_a_kind_of_picture_that_was_not_trained_on_is_told(tmp_path: Path) -> None:
    """With what is black and white in it; a run of an older version answers as it did."""
    run = small_run(tmp_path / "run")
    facts = json.loads((run / "run.json").read_text("utf-8"))
    assert facts["preprocess"].pop("scales") is None
    picture = np.full((32, 32), 4095, np.uint16)
    Image.fromarray(picture).save(tmp_path / "x.png")
    paths, told = [tmp_path / "x.png"], []
    for known in (None, []):
        about = facts["preprocess"] if known is None else {**facts["preprocess"], "scales": known}
        (run / "run.json").write_text(json.dumps({**facts, "preprocess": about}), "utf-8")
        listener = Recorder()
        list(predict.run_prediction(paths, run, top=1, device="cpu", listener=listener))
        told.append([note for note in listener.notes if "trained on none" in note])

    assert told[0] == []
    assert "0 is black and 65,535 white" in told[1][0]


def test_where_no_image_can_be_read_the_reason_is_the_message(tmp_path: Path) -> None:
    """A clone of pointers, a phone's folder: what helps is said, and not that there is nothing."""
    for name in ("a", "b"):
        for i in range(3):
            for root, suffix, content in (
                ("lfs", "jpg", f"version https://git-lfs.github.com/spec/v1\nsize {i}{name}\n"),
                ("npy", "npy", f"\x93NUMPY{i}{name}"),
            ):
                path = tmp_path / root / name / f"{i}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode("latin-1"))

    with pytest.raises(DataError, match=r"none of the 6 .*Git LFS pointer.*`git lfs pull` \(6 of"):
        train(tmp_path / "lfs", tmp_path / "run", strategy="linear-probe")
    with pytest.raises(DataError, match=r"6 file\(s\) that are not read.*a/0\.npy: .*NumPy array"):
        train(tmp_path / "npy", tmp_path / "run", strategy="linear-probe")


def test_below_a_folder_a_picture_is_known_by_its_content(tmp_path: Path) -> None:
    """Whatever it is called it is listed; texts, tables and films are counted."""
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.dat", format="JPEG")
    (tmp_path / "design.bin").write_bytes(b"8BPS" + bytes(40))
    (tmp_path / "a.psd").write_bytes(b"8BPS" + bytes(40))
    for name, content in (
        ("a.txt", b"hello"),
        ("b.csv", b"a,b\n1,2\n"),
        ("c.mp4", b"\0\0\0\x18ftypisom"),
    ):
        (tmp_path / name).write_bytes(content)

    found = files.list_images([tmp_path])

    assert [path.name for path in found.files] == ["a.psd", "design.bin", "photo.dat"]
    assert found.others == 3
    assert "Photoshop" in found.faults[0]


def test_pictures_in_an_archive_are_looked_at(tmp_path: Path) -> None:
    """A run that was trained on an archive, or is measured on one, is told of other kinds there."""
    Image.fromarray(np.full((9, 9), 500, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "plain.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as out:
        for name in ("deep.png", "plain.png"):
            out.write(tmp_path / name, name)
    root = containers.opened(tmp_path / "all.zip")

    told = scales.unseen([root / "deep.png", root / "plain.png"], ())

    assert len(told) == 1
    assert "trained on none (1)" in told[0]

"""DICOM files as a person is meant to see them; skipped where pydicom is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import train

from finetune import api
from finetune.pictures import decoding, dicom, file_kinds
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError
from finetune.runs import run_folder

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

SIDE = 32


def write(path: Path, stored: npt.NDArray[Any], **tags: object) -> Path:
    """A DICOM file of one uncompressed frame, or of several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    about = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    color = stored.ndim == 3 and stored.shape[2] == 3
    about.SamplesPerPixel = 3 if color else 1
    about.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        about.PlanarConfiguration = 0
    about.Rows, about.Columns = stored.shape[:2] if color or stored.ndim == 2 else stored.shape[1:]
    about.BitsAllocated = about.BitsStored = 8 * stored.dtype.itemsize
    about.HighBit = about.BitsStored - 1
    about.PixelRepresentation = int(stored.dtype.kind == "i")
    about.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(about, name, value)
    about.save_as(path, enforce_file_format=True)
    return path


def ramp(kind: str = "uint16", top: int = 4000) -> npt.NDArray[Any]:
    return np.linspace(0, top, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


@pytest.mark.parametrize("turned", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
def test_the_window_of_the_file_says_what_is_black_and_white(tmp_path: Path, turned: bool) -> None:
    """By the standard's linear function on rescaled values; MONOCHROME1 is turned."""
    stored = ramp()
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": [40, 7]}
    light = {"PhotometricInterpretation": "MONOCHROME1"} if turned else {}
    path = write(tmp_path / "a.dcm", stored, **tags, WindowWidth=[400, 7], **light)

    seen = decoding.decode(path, SIDE)[..., 0].astype(float)

    shown = np.clip((2.0 * stored - 1024 - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(seen - (255 - shown if turned else shown)).max() <= 0.51


@pytest.mark.parametrize("how", ["LINEAR_EXACT", "SIGMOID"])
def test_other_functions_of_the_window_are_heeded(tmp_path: Path, how: str) -> None:
    """As C.11.2.1.3 of the standard has them."""
    stored = ramp()
    path = write(
        tmp_path / "a.dcm", stored, WindowCenter=2000, WindowWidth=1000, VOILUTFunction=how
    )

    seen = decoding.decode(path, SIDE)[..., 0].astype(float)

    far = (stored.astype(float) - 2000) / 1000
    wanted = np.clip(far + 0.5, 0, 1) if how == "LINEAR_EXACT" else 1 / (1 + np.exp(-4 * far))
    assert np.abs(seen - 255 * wanted).max() <= 0.51


def test_without_a_window_the_runs_scale_is_used(tmp_path: Path) -> None:
    """Values below zero, as Hounsfield units have them, are scaled as other deep pictures are."""
    path = write(tmp_path / "a.dcm", ramp(), RescaleSlope=1, RescaleIntercept=-1024)
    found = decoding.values(path)
    assert found is not None
    assert found.kind == "float"
    assert found.numbers.min() == -1024

    seen = decoding.decode(path, SIDE, [Scale("float", -1024.0, 2976.0, 1, "")])

    assert seen[0, 0, 0] == 0
    assert seen[-1, -1, 0] == 255


def test_color_and_the_first_of_several_frames(tmp_path: Path) -> None:
    """Color is as it is; of a film the first picture is taken, as of any file with frames."""
    color = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    frames = np.stack([ramp("uint8", 200), ramp("uint8", 20)])

    assert np.array_equal(decoding.decode(write(tmp_path / "c.dcm", color), SIDE), color)
    film = write(tmp_path / "f.dcm", frames, NumberOfFrames=2)
    assert np.array_equal(decoding.decode(film, SIDE)[..., 0], frames[0])


def test_it_is_known_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    """Scanners write files without a suffix, and some are called otherwise."""
    path = write(tmp_path / "IM0001.png", ramp("uint8", 200))

    assert decoding.glance(path, SIDE).format == "DICOM"
    assert ".dcm" in file_kinds.suffixes()


def test_a_damaged_file_names_itself_and_what_to_do(tmp_path: Path) -> None:
    """No traceback of pydicom's reaches the user; nor is a file without pixels a picture."""
    path = write(tmp_path / "a.dcm", ramp())
    path.write_bytes(path.read_bytes()[:-500])
    empty = write(tmp_path / "b.dcm", ramp(), Rows=0)

    with pytest.raises(ImageError, match=r"a\.dcm.*pydicom does not unpack"):
        decoding.decode(path, SIDE)
    with pytest.raises(ImageError, match="without a picture"):
        decoding.decode(empty, SIDE)


def test_without_pydicom_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named."""
    path = write(tmp_path / "a.dcm", ramp())
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(ImageError, match=r"finetune\[dicom\]"):
        decoding.decode(path, SIDE)
    assert "finetune[dicom]" in dicom.INSTALL


def test_a_folder_of_dicom_is_trained_on_and_predicted(tmp_path: Path) -> None:
    """From file to report: the scale, the pictures, the answer."""
    rng = np.random.default_rng(0)
    for name, level in (("low", 800), ("high", 2800)):
        for i in range(12):
            values = (level + rng.normal(0, 60, (SIDE, SIDE))).clip(0, 4095).astype(np.uint16)
            write(tmp_path / "scans" / name / f"{i:02d}.dcm", values)

    result = train(
        tmp_path / "scans",
        tmp_path / "run",
        backbone="test_resnet",
        weights="random",
        strategy="linear-probe",
    )

    assert result.estimate.accuracy == 1.0
    scales = run_folder.load_facts(tmp_path / "run").preprocess.scales or ()
    assert [s.kind for s in scales] == ["16-bit"]
    answer = api.load(tmp_path / "run", device="cpu").predict(tmp_path / "scans/low/00.dcm")
    assert answer[0].label == "low"

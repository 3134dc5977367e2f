"""What each format of an export consists of, and how others read it; torch only where it must."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from finetune.deploy import int8_file, openvino_file, outputs, readmes
from finetune.pictures.bands import EVERY
from finetune.records.answers import Int8
from finetune.records.choices import Format
from finetune.records.errors import ExportError, FinetuneError, first_line
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts
from finetune.runs.run_folder import LoadedRun
from finetune.storage.arrays import Array

Answer = Callable[[Path], Array]
# What a format is called where it lies beside its run, and whether it is one file.
ENDS: dict[Format, tuple[str, bool]] = {
    "onnx": (".onnx", True),
    "openvino": ("-openvino", False),
    "pt2": (".pt2", True),
    "hub": ("-hub", False),
    "triton": ("-triton", False),
}
# What an installation that only answers leaves out (`deploy.needs`).
NETWORKS = ("torch", "timm")
# The optional packages of the extra `export`, by format.
NEEDS: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript"),
    "pt2": (),
    "hub": (),
    "triton": ("onnx", "onnxscript", "onnxruntime"),
}
# Formats that are made of the network as ONNX, and so can have its layers in 8 bits.
OF_ONNX: tuple[Format, ...] = ("onnx", "openvino", "triton")
OPSET = 18  # the first with an axes input for every reduction; what most runtimes of 2023 on read


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export that was written, not checked yet.

    `answer` reads a picture's file as the README says and gives probabilities float64[C] by what
    lies on the disk.
    """

    main: Path
    answer: Answer


def require(kind: Format) -> None:
    """Find out before the work whether the packages are there.

    Raises:
        ExportError: one is not.
    """
    wanted = (*NETWORKS, *NEEDS[kind])
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{kind} needs {', '.join(missing)}, which is not installed",
            hint="pip install 'finetune-images[export]'",
        )


def write(
    kind: Format, run: LoadedRun, folder: Path, name: str, network: bytes | None = None
) -> Export:
    """Write an export into an empty folder, all but its README.

    Args:
        kind: Its format.
        run: From `run_folder.load`.
        folder: Where.
        name: What the model is called: its file, or its folder in a repository of models.
        network: From `onnx_content` or `int8_file.quantized`, for a format of `OF_ONNX`; made here
            where it is None.

    Raises:
        ExportError: the format cannot express this model, and why.
    """
    with _told(run, f"exported as {kind}"):
        match kind:
            case "onnx":
                return _write_onnx(run, folder, name, network)
            case "openvino":
                return _write_openvino(run, folder, name, network)
            case "triton":
                return _write_triton(run, folder, name, network)
            case "pt2":
                return _write_pt2(run, folder, name)
            case "hub":
                return _write_hub(run, folder, name)


def describe(
    kind: Format,
    facts: RunFacts,
    made: Export,
    folder: Path,
    int8: Int8 | None = None,
    *,
    score: str,
) -> None:
    """Write the README of an export in `folder`, `NAME.md` beside a single file, with its score."""
    text = readmes.text(kind, facts, made.main.relative_to(folder), int8, score=score)
    readme = made.main.with_suffix(".md") if ENDS[kind][1] else folder / "README.md"
    readme.write_text(text, encoding="utf-8")


def onnx_content(run: LoadedRun) -> bytes:
    """The whole network as ONNX.

    Raises:
        ExportError: torch's exporter cannot express it.
    """
    with _told(run, "exported as onnx"):
        return _onnx(run)


def in_8_bits(
    run: LoadedRun,
    network: bytes,
    pictures: Sequence[npt.NDArray[np.uint8]],
    told: Callable[[int, int], None],
) -> bytes:
    """The same with layers in 8 bits: as `int8_file.quantized`.

    Raises:
        ExportError: onnxruntime cannot quantize it.
    """
    with _told(run, "quantized"):
        return int8_file.quantized(network, pictures, told)


@contextlib.contextmanager
def _told(run: LoadedRun, what: str) -> Iterator[None]:
    try:
        yield
    except (FinetuneError, OSError):
        raise
    except Exception as error:  # exporters raise all sorts of things
        raise ExportError(
            f"{run.facts.backbone.name} cannot be {what}: {first_line(error)}",
            hint="Try another --format, or train with another --backbone.",
        ) from error


def as_read(path: Path) -> npt.NDArray[np.uint8]:
    """A picture uint8[H,W,3] as the programs in the READMEs read it."""
    with path.open("rb") as content:  # it may lie in an archive
        image: Image.Image = ImageOps.exif_transpose(Image.open(content))
        image.load()
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _onnx(run: LoadedRun) -> bytes:
    from finetune.deploy import onnx_file, whole_network  # noqa: PLC0415 - torch

    program = whole_network.program(whole_network.of_run(run))
    return onnx_file.content(program, OPSET, _facts(run.facts), outputs.called(run.facts))


def _write_onnx(run: LoadedRun, folder: Path, name: str, network: bytes | None = None) -> Export:
    file = folder / f"{name}.onnx"
    file.write_bytes(network or _onnx(run))
    return Export(main=file, answer=_onnx_answer(file))


def _write_triton(run: LoadedRun, folder: Path, name: str, network: bytes | None) -> Export:
    place = folder / name / "1"
    place.mkdir(parents=True)
    made = _write_onnx(run, place, "model", network)
    classes = run.facts.classes
    (folder / name / "config.pbtxt").write_text(
        readmes.triton_config(name, len(classes), outputs.called(run.facts)), encoding="utf-8"
    )
    labels = "".join(f"{label}\n" for label in classes)
    (folder / name / "labels.txt").write_text(labels, encoding="utf-8")
    return made


def _write_openvino(run: LoadedRun, folder: Path, name: str, network: bytes | None) -> Export:
    file = folder / f"{name}.xml"
    openvino_file.write(network or _onnx(run), file, run.facts, _facts(run.facts))
    return Export(main=file, answer=openvino_file.answer(file, as_read))


def _write_pt2(run: LoadedRun, folder: Path, name: str) -> Export:
    import torch  # noqa: PLC0415

    from finetune.deploy import whole_network  # noqa: PLC0415

    file = folder / f"{name}.pt2"
    program = whole_network.program(whole_network.of_run(run))
    torch.export.save(program, file, extra_files={"about.json": json.dumps(_facts(run.facts))})
    module = torch.export.load(file).module()

    def answer(path: Path) -> Array:
        with torch.inference_mode():
            found = module(torch.from_numpy(as_read(path).copy())[None])
        return np.asarray(found[0].numpy(), np.float64)

    return Export(main=file, answer=answer)


def _write_hub(run: LoadedRun, folder: Path, name: str) -> Export:
    from finetune.deploy import hub  # noqa: PLC0415 - torch

    del name
    hub.write(run, folder)
    return Export(main=folder / "config.json", answer=hub.answer(folder, as_read, run.facts.target))


def _onnx_answer(file: Path) -> Answer:
    import onnxruntime  # noqa: PLC0415 - optional

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def answer(path: Path) -> Array:
        found: Any = session.run(None, {"image": as_read(path)[None]})[0][0]
        return np.asarray(found, np.float64)

    return answer


def _bands(facts: RunFacts) -> str:
    """`4,3,2`, or `all`; empty where pictures are taken as they are."""
    taken = facts.preprocess.bands or ()
    return "all" if taken == EVERY else ",".join(map(str, taken))


def _facts(facts: RunFacts) -> dict[str, str]:
    """What is written into a file beside the network."""
    about = facts.backbone
    accuracy = "" if facts.accuracy is None else f"{facts.accuracy:.4f}"
    return {
        "classes": json.dumps(list(facts.classes), ensure_ascii=False),
        "license": about.licence,
        "training_fingerprint": facts.data_fingerprint,
        "backbone": about.name,
        "weights": about.weights,
        "strategy": facts.strategy,
        "created": facts.created,
        "finetune": facts.versions.get("finetune", ""),
        "accuracy": accuracy,
        "accuracy_source": facts.accuracy_source,
        "fit": facts.preprocess.fit,
        "bands": _bands(facts),
        "side_px": str(facts.preprocess.side_px),
        **({} if facts.target is None else _target(facts, facts.target)),
    }


def _target(facts: RunFacts, target: TargetFacts) -> dict[str, str]:
    """What a program has to know of labels, or of numbers; their names are in `classes`."""
    if target.kind == "labels":
        least = outputs.thresholds(target, facts.classes)
        return {"target": target.kind, "thresholds": json.dumps(list(least))}
    return {"target": target.kind, "within": json.dumps(list(target.within))}

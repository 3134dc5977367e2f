"""Each format of an export × kinds of run × data sets: equal, how large, how fast.

    python benchmarks/exports.py --data DATA [--rows benchmarks/exports.csv] [--home FOLDER]
        [--sets NAME …] [--kinds NAME …] [--formats NAME …] [--many 100]
    python benchmarks/exports.py --report [--many 100]

Each set is trained on once for each kind of run, few images and epochs: what is compared are
files, not accuracies. The tuned one is kept whatever it is worth, with `--fit squash`, so that
timm's hub layout can hold it. Speed is CPU seconds of this process with one thread, from the
picture's file to its answer, export and `predict`'s engine by turns in blocks of ten: `one` of the
first picture again and again, `many` of as many pictures of the set. Rows that are there are not
measured again.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything computes

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import row_file

import finetune
from finetune.backbones import inference
from finetune.cli import process
from finetune.decision import baseline
from finetune.deploy import formats, int8_file, predictor
from finetune.pictures import decoding
from finetune.records.errors import ExportError, UsageError
from finetune.records.events import Silent
from finetune.records.metrics import Baseline
from finetune.runs import run_folder

ROWS = Path(__file__).with_suffix(".csv")
SETS = ("flowers5", "clipart8", "sign_digits10")
TUNE = ["--epochs", "3", "--image-size", "128"]
KINDS = {
    "linear probe": ["--strategy", "linear-probe"],
    "stage probe": ["--strategy", "stage-probe"],
    "tuned": ["--strategy", "partial", "--fit", "squash", *TUNE],
    "blend": ["--strategy", "blend", *TUNE],
}
FORMATS = ("onnx", "openvino", "pt2", "hub", "triton", "onnx int8", "openvino int8")
BLOCK = 10


@dataclass(frozen=True)
class Row:
    """One export; rates are pictures a second of CPU time, numbers empty where it was refused."""

    set: str
    kind: str
    format: str
    refused: str
    labels_equal: str
    checked: int
    max_difference: float | None
    megabytes: float | None
    one: float | None
    one_engine: float | None
    many: float | None
    many_engine: float | None
    pictures: int
    loss: float | None
    low: float | None
    high: float | None
    judged: int


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--home", type=Path, default=Path("runs/exports"))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    if asked.report:
        print(report([r for r in row_file.read(Row, asked.rows) if r.pictures == asked.many]))
        return
    formats._onnx = by_path(formats._onnx)
    int8_file.quantized = remembered(int8_file.quantized)
    known = {(r.set, r.kind, r.format, r.pictures) for r in row_file.read(Row, asked.rows)}
    for name in asked.sets:
        for kind in asked.kinds:
            for form in asked.formats:
                if (name, kind, form, asked.many) in known:
                    continue
                run = trained(
                    asked.data / name, kind, asked.home / f"{name}-{kind}".replace(" ", "-")
                )
                row = measured(name, kind, form, run, asked.many)
                row_file.append(row, asked.rows)
                print(row, flush=True)


def by_path(export: Callable[[run_folder.LoadedRun], bytes]) -> Callable[..., bytes]:
    """The network of a run is exported once for several formats."""
    known: dict[Path, bytes] = {}

    def once(run: run_folder.LoadedRun) -> bytes:
        if run.path not in known:
            known[run.path] = export(run)
        return known[run.path]

    return once


def remembered(quantize: Callable[..., bytes]) -> Callable[..., bytes]:
    """The same network is quantized once for two formats."""
    known: dict[bytes, bytes] = {}

    def quantized(content: bytes, *others: Any) -> bytes:
        if content not in known:
            known[content] = quantize(content, *others)
        return known[content]

    return quantized


def trained(data: Path, kind: str, run: Path) -> Path:
    """The run of that kind, trained unless it is there."""
    if run.exists():
        return run
    with kept_whatever_it_is_worth() if kind == "tuned" else contextlib.nullcontext():
        words = ["train", str(data), "--out", str(run), "--max-per-class", "40", "--quiet"]
        code = process.run([*words, *KINDS[kind]])
    if code != 0:
        sys.exit(f"{run}: exit code {code}")
    return run


@contextlib.contextmanager
def kept_whatever_it_is_worth() -> Iterator[None]:
    """The tuned network is returned, also where the probe is better."""
    judge = baseline.judge

    def tuned(*args: Any, **options: Any) -> Baseline:
        found = judge(*args, **options)
        return Baseline(
            "tuned", **{f.name: getattr(found, f.name) for f in fields(found) if f.name != "kept"}
        )

    with mock.patch.object(baseline, "judge", tuned):
        yield


def measured(name: str, kind: str, form: str, run: Path, many: int) -> Row:
    """Export, and time the file."""
    blank: dict[str, Any] = dict.fromkeys(("loss", "low", "high"))
    what, _, int8 = form.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"model{formats.ENDS[what][0]}"  # type: ignore[index]
        try:
            found = finetune.export(run, what, out, int8=bool(int8), max_loss=100)  # type: ignore[arg-type]
        except (ExportError, UsageError) as error:
            none: dict[str, Any] = dict.fromkeys(
                ("max_difference", "megabytes", "one", "one_engine", "many", "many_engine")
            )
            return Row(
                name,
                kind,
                form,
                error.message[:90],
                "",
                0,
                pictures=many,
                judged=0,
                **none,
                **blank,
            )
        paths = listed(run, many)
        engine = of_predict(run)
        answer = reader(what, out)
        one = by_turns(answer, engine, paths[:1] * min(many, 100))
        all_of_them = by_turns(answer, engine, paths)
    cost = found.int8
    if cost is not None:
        blank = {"loss": cost.loss, "low": cost.interval[0], "high": cost.interval[1]}
    return Row(
        *(name, kind, form, "", "yes" if found.labels_equal else "no", found.checked),
        *(found.max_difference, sum(found.files.values()) / 1e6, *one, *all_of_them, many),
        *blank.values(),
        0 if cost is None else cost.images,
    )


def listed(run: Path, count: int) -> list[Path]:
    """Pictures of the run's data, the unseen first, over again where there are too few."""
    splits, facts = run_folder.load_splits(run), run_folder.load_facts(run)
    there = [Path(facts.data_root) / s.path for s in (*splits.test, *splits.fitting)]
    return [there[i % len(there)] for i in range(count)]


def of_predict(run: Path) -> Callable[[Path], object]:
    """A file to logits as `predict` answers, on one thread."""
    facts = run_folder.load_facts(run)
    with one_thread():
        model = predictor.of_run(run, facts, device="cpu", images=1, listener=Silent())
    about = facts.preprocess
    return lambda path: model.logits(
        decoding.decode(path, about.side_px, about.scales, about.box)[None]
    )


def reader(what: str, out: Path) -> Callable[[Path], object]:
    """A file to probabilities as the READMEs of exports have it, on one thread."""
    if what in ("onnx", "triton"):
        file = out if what == "onnx" else next(out.rglob("model.onnx"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda path: session.run(None, {"image": formats.as_read(path)[None]})
    if what == "openvino":
        with one_thread():
            from finetune.deploy import openvino_file  # noqa: PLC0415

            return openvino_file.answer(next(out.glob("*.xml")), formats.as_read)
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    if what == "pt2":
        module = torch.export.load(out).module()

        def answer(path: Path) -> object:
            with torch.inference_mode():
                return module(torch.from_numpy(formats.as_read(path).copy())[None])

        return answer
    from finetune.deploy import hub  # noqa: PLC0415

    return hub.answer(out, formats.as_read)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """What OpenVINO compiles inside runs on one thread."""
    core = inference.openvino().Core
    compile_model = core.compile_model

    def alone(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        return compile_model(self, model, device, settings | {"INFERENCE_NUM_THREADS": 1})

    with mock.patch.object(core, "compile_model", alone):
        yield


def by_turns(
    export: Callable[[Path], object], engine: Callable[[Path], object], paths: Sequence[Path]
) -> tuple[float, float]:
    """Pictures a second of CPU time of both, in blocks by turns after one for warmth."""
    spent = [0.0, 0.0]
    for answer in (export, engine):
        answer(paths[0])
    for start in range(0, len(paths), BLOCK):
        for which, answer in enumerate((export, engine)):
            began = time.process_time()
            for path in paths[start : start + BLOCK]:
                answer(path)
            spent[which] += time.process_time() - began
    return len(paths) / spent[0], len(paths) / spent[1]


def report(rows: Sequence[Row]) -> str:
    """The table of docs/export.md: each row a kind of run and a format, over the sets."""
    lines = [
        "| run | format | labels equal | difference | MB | one picture | many | int8 loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        for form in FORMATS:
            some = [r for r in rows if (r.kind, r.format) == (kind, form)]
            good = [r for r in some if not r.refused]
            if some and not good:
                lines.append(f"| {kind} | {form} | refused | | | | | |")
            if not good:
                continue
            equal = f"{sum(r.labels_equal == 'yes' for r in good)} of {len(good)} sets"
            ratios = [
                " / ".join(f"{a / b:.2f}" for a, b in pairs)
                for pairs in (
                    [(r.one or 0, r.one_engine or 1) for r in good],
                    [(r.many or 0, r.many_engine or 1) for r in good],
                )
            ]
            lost = " / ".join(
                f"{100 * r.loss:.1f} ({100 * (r.low or 0):.1f} to {100 * (r.high or 0):.1f})"
                for r in good
                if r.loss is not None
            )
            gap = max(r.max_difference or 0 for r in good)
            size = np.mean([r.megabytes or 0 for r in good])
            lines.append(
                f"| {kind} | {form} | {equal} | {gap:.3f} | {size:.1f} | {ratios[0]} | {ratios[1]}"
                f" | {lost} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

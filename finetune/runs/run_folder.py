"""The run folder: written whole or not at all, read and checked; torch-free.

`run.json` and `result.json` are records, `model.safetensors` holds the backbone (`backbone.…`) and
the head (`head.weight`, `head.bias`), of a blend also what the probe's network has otherwise
(`original.…`), and features of training images (`unknown.reference`); `inference.xml` and
`inference.bin`, where they are, hold the whole network as OpenVINO reads it. No file of a run can
hold code.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from safetensors.numpy import save as serialised

from finetune.backbones import inference
from finetune.backbones.registry import BODY, HEAD, ORIGINAL, REFERENCE
from finetune.records.choices import SCHEMA_VERSION
from finetune.records.codec import T, from_json, to_json
from finetune.records.dataset import Splits
from finetune.records.errors import DataError, RunError, TakenError, cause, refusals
from finetune.records.file_names import (
    FACTS,
    HISTORY,
    MATERIAL,
    MODEL,
    NETWORK,
    REPORT,
    RESULT,
    SPLITS,
)
from finetune.records.material import Material
from finetune.records.run import RunFacts, RunResult
from finetune.records.target_result import TargetResult
from finetune.records.training import EpochRecord
from finetune.runs import result_file
from finetune.runs.result_file import MOST_FACTS_BYTES, MOST_SPLITS_BYTES
from finetune.storage import atomic_files, untrusted_files

HOME = Path("runs")
# What a rename to a place where something stands fails with.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
SAMPLE_BYTES = 60  # of a sample in `splits.json` beside its texts


@dataclass(frozen=True)
class LoadedRun:
    """A run read back: `backbone` holds its tensors, `weight` float32[C,D] and `bias` its head.

    Of a blend, `original` holds the tensors of the network that the probe reads, all of them; the
    head's columns are first those of `backbone`, then those of `original`, as in `facts.parts`.
    """

    path: Path
    facts: RunFacts
    backbone: dict[str, npt.NDArray[Any]]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    original: dict[str, npt.NDArray[Any]] | None = None

    @property
    def networks(self) -> tuple[dict[str, npt.NDArray[Any]], ...]:
        """The tensors of each network, those of a blend in the order of `facts.parts`."""
        return (self.backbone,) if self.original is None else (self.backbone, self.original)


def choose_folder(out: str | None, data_root: Path, strategy: str, now: datetime) -> Path:
    """Where a new run goes: `--out`, or a dated name below `runs/`.

    Raises:
        TakenError: something stands there.
        RunError: it cannot be written.
    """
    if out is None:
        _require_writable(HOME)
        # a name may have 255 bytes at most
        name = os.fsencode(Path(os.path.realpath(data_root)).name)[:100].decode(errors="ignore")
        stem = f"{now:%Y%m%d-%H%M%S}-{name}-{strategy}"
        path, n = HOME / stem, 2
        while path.exists():
            path, n = HOME / f"{stem}-{n}", n + 1
        return path
    path = Path(out)
    with refusals(
        lambda error: RunError(f"cannot use {path}: {cause(error)}", hint="Give another --out.")
    ):
        _require_writable(path)
        link, mount = path.is_symlink(), path.is_mount()
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken:
        raise TakenError(f"{path} exists already", hint="Give another --out, or remove it first.")
    if link or mount:  # a folder can be renamed to neither
        raise RunError(
            f"{path} is a {'link' if link else 'mount point'}, and a run takes its place by its "
            "name",
            hint=f"Give a folder inside of it: --out {shlex.quote(str(path / 'run'))}",
        )
    return path


def beside(path: Path) -> Path:
    """A free place like another that is taken."""
    number = 2
    while os.path.lexists(path.with_name(f"{path.name}-{number}")):
        number += 1
    return path.with_name(f"{path.name}-{number}")


def save(  # noqa: PLR0913 - one parameter per file of a run
    path: Path,
    facts: RunFacts,
    result: RunResult | TargetResult,
    *,
    tensors: Mapping[str, npt.NDArray[Any]],
    history: Sequence[EpochRecord],
    splits: Splits,
    report: str | None,
    aside: Path,
    replaced: Path | None = None,
    network: tuple[bytes, bytes] | None = None,
    material: Material | None = None,
) -> None:
    """Write a run beside its place, flush it to disk, and rename it: whole or absent.

    Args:
        path: Its place.
        facts: Written as `run.json`.
        result: Written as `result.json`.
        tensors: From `run_tensors.pack`.
        history: One record per epoch.
        splits: Which image went where.
        report: The page; None without one.
        aside: A folder to be made on the same file system, in which it is written.
        replaced: Where a run goes that stands in its place; None where none may.
        network: The bytes of `NETWORK`, whose digests `run.json` then holds.
        material: What the report shows beside the others, so that it can be made again.

    Raises:
        TakenError: something else stands there by now.
        RunError: the place cannot be written.
    """
    ready = dict(zip(NETWORK, network, strict=True)) if network else {}
    facts = replace(
        facts, inference={name: atomic_files.digest(content) for name, content in ready.items()}
    )
    texts = {
        FACTS: result_file.pretty(facts),
        RESULT: result_file.fitting(result),
        SPLITS: result_file.pretty(splits),
        HISTORY: "".join(to_json(r) + "\n" for r in history),
    }
    if report is not None:
        texts[REPORT] = report
    if material is not None:
        texts[MATERIAL] = to_json(material) + "\n"
    with refusals(lambda error: _unwritten(path, error)):
        shutil.rmtree(aside, ignore_errors=True)  # left by one that was killed
        aside.mkdir(parents=True)
        try:
            for name, text in texts.items():
                (aside / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            # not safetensors' own writing to a file, whose errors do not tell a full disk
            for name, content in {**ready, MODEL: serialised(dict(tensors))}.items():
                (aside / name).write_bytes(content)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_files.move(aside, path, replaced)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _unwritten(path: Path, error: OSError) -> RunError:
    """Why a run could not be put in its place."""
    if error.errno in _TAKEN and os.path.lexists(path):
        return TakenError(
            f"cannot write the run to {path}: something else was put there meanwhile",
            hint="Give another --out.",
        )
    return RunError(
        f"cannot write the run to {path}: {cause(error)}",
        hint="Make room, or give a folder you may write to with --out.",
    )


def require_room(splits: Splits) -> None:
    """Find out before the work whether `splits.json` will have no more bytes than are read of it.

    Raises:
        DataError: too many images.
    """
    samples = (*splits.fitting, *splits.test)
    # a JSON escape has six bytes for one character, UTF-8 at most four
    size = sum(SAMPLE_BYTES + 6 * len(s.path + s.group) + len(s.digest) for s in samples)
    size += len(to_json(splits.learnt))
    if size <= MOST_SPLITS_BYTES:
        return
    size = sum(len(to_json(some)) for some in vars(splits).values())
    if size > MOST_SPLITS_BYTES:
        raise DataError(
            f"{len(samples):,} images are too many: their list would have {size:,} bytes, and no "
            f"more than {MOST_SPLITS_BYTES:,} are read of a run's {SPLITS}",
            hint="Give a smaller --max-per-class, or shorter names of folders and files.",
        )


def load(path: Path) -> LoadedRun:
    """Read and check a run.

    Raises:
        RunError: not a run, of another schema version, or its parts do not fit together.
    """
    facts = load_facts(path)
    file = path / MODEL
    try:
        untrusted_files.check_tensors(file, path)
        tensors = load_file(file)
        # a process that has imported such types, as onnx does, reads them; no other would
        for name in (name for name, t in tensors.items() if t.dtype.isbuiltin != 1):
            raise ValueError(f"numpy has no numbers of the kind of {name}")  # noqa: TRY301
    except Exception as error:  # safetensors knows kinds of tensors that numpy does not
        raise unreadable(file, error) from error
    weight, bias, _ = (tensors.pop(name, None) for name in (*HEAD, REFERENCE))
    count = len(facts.classes)
    if (
        weight is None
        or bias is None
        or not weight.dtype == bias.dtype == np.float32
        or (weight.ndim, bias.shape) != (2, (count,))
        or weight.shape[0] != count
        or not (np.isfinite(weight).all() and np.isfinite(bias).all())
    ):
        raise RunError(
            f"{file} has no usable head for {count} classes",
            hint="The run is damaged; train again.",
        )
    other = [name for name in tensors if facts.parts and name.startswith(ORIGINAL)]
    changed = {name.removeprefix(ORIGINAL): tensors.pop(name) for name in other}
    backbone = {name.removeprefix(BODY): t for name, t in tensors.items()}
    original = backbone | changed if facts.parts else None
    return LoadedRun(path, facts, backbone, weight, bias, original)


def load_facts(path: Path) -> RunFacts:
    """Read `run.json` alone; raises `RunError` as `load` does."""
    file = path / FACTS
    if not os.path.lexists(file):
        raise RunError(
            f"no run at {path}",
            hint="`finetune runs` lists the runs; `finetune train DIR` makes one.",
        )
    facts = _record(file, RunFacts, MOST_FACTS_BYTES)
    if facts.schema_version != SCHEMA_VERSION:
        raise RunError(
            f"{file} has schema version {facts.schema_version}, this program reads "
            f"{SCHEMA_VERSION}",
            hint="Use the version of finetune that wrote it, or train again.",
        )
    if len(facts.parts) not in (0, 2) or (facts.strategy == "blend") != bool(facts.parts):
        raise RunError(
            f"{file} has {len(facts.parts)} networks that answer together, not two",
            hint="The run is damaged; train again.",
        )
    if len(set(facts.classes)) < len(facts.classes):
        raise RunError(
            f"{file} has two classes of one name", hint="The run is damaged; train again."
        )
    return facts


def load_network(path: Path, facts: RunFacts) -> tuple[bytes, bytes] | None:
    """Read `NETWORK`; None where the run has none, or they have been deleted.

    Raises:
        RunError: one of the two is missing, cannot be read, or is not what training wrote.
    """
    files = [path / name for name in NETWORK]
    if not facts.inference or not any(os.path.lexists(file) for file in files):
        return None
    contents = []
    for file in files:
        try:
            contents.append(untrusted_files.read(file, untrusted_files.MOST_TENSOR_BYTES, path))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {file}: {cause(error)}", hint=inference.DELETE) from error
        if atomic_files.digest(contents[-1]) != facts.inference.get(file.name):
            raise RunError(
                f"{file} is not the file that training wrote: its digest is another",
                hint=inference.DELETE,
            )
    return contents[0], contents[1]


def _has_facts(folder: Path) -> bool:
    return os.path.isfile(folder / FACTS)  # noqa: PTH113 - raises for no name, nor where it is closed


def load_result(path: Path) -> RunResult:
    """Read `result.json` of a run of classes; raises `RunError`."""
    return _record(path / RESULT, RunResult, MOST_FACTS_BYTES)


def load_target_result(path: Path) -> TargetResult:
    """Read `result.json` of a run of labels or numbers; raises `RunError`."""
    return _record(path / RESULT, TargetResult, MOST_FACTS_BYTES)


def load_material(path: Path) -> Material:
    """Read `report.json`.

    Raises:
        RunError: there is none, as in runs of older versions, or it cannot be read.
    """
    file = path / MATERIAL
    if not os.path.lexists(file):
        raise RunError(
            f"{path} holds no {MATERIAL}, of which a report is made: it is of an older version",
            hint=f"Its {REPORT} shows what it knew; finetune train --from-run makes a new run.",
        )
    return _record(file, Material, MOST_FACTS_BYTES)


def load_history(path: Path) -> tuple[EpochRecord, ...]:
    """Read `history.jsonl`; raises `RunError`."""
    file = path / HISTORY
    try:
        text = untrusted_files.read(file, MOST_FACTS_BYTES, path)
        return tuple(from_json(line, EpochRecord) for line in text.splitlines())
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise unreadable(file, error) from error


def load_splits(path: Path) -> Splits:
    """Read `splits.json`; raises `RunError`."""
    file = path / SPLITS
    splits = _record(file, Splits, MOST_SPLITS_BYTES)
    try:
        for sample in splits.fitting + splits.test:
            untrusted_files.check_name(sample.path)
    except ValueError as error:
        raise unreadable(file, error) from error
    return splits


def _require_writable(path: Path) -> None:
    """Find out before the training, not after it."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        raise RunError(
            f"cannot write the run to {path}: no right to write in {there}",
            hint="Give a folder you may write to with --out.",
        )


def _record(file: Path, kind: type[T], most: int) -> T:
    try:
        return from_json(untrusted_files.read(file, most, file.parent), kind)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> RunError:
    """What to tell of a file of a run that cannot be read."""
    return RunError(
        f"cannot read {file}: {cause(error)}",
        hint="The run is damaged, of another version, or not from finetune; train again.",
    )

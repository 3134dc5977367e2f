"""How long people wait, for `finetune` and for what they would use instead, side by side.

    python benchmarks/speed.py --setup ENVS                 the other tools' environments, once
    python benchmarks/speed.py --data FOLDER --envs ENVS    all that is missing; quiet machine!
    python benchmarks/speed.py --data FOLDER --only probe deep
    python benchmarks/speed.py --data FOLDER --device cuda  on a card; rows in speed_cuda.csv
    python benchmarks/speed.py --report [--docs docs/speed.md]

FOLDER holds `flowers5` and `sign_digits10`, one folder per class in each. Every contender gets the
same files, the same machine, the same backbone and ImageNet weights (where it can take them), and
is measured as a whole process from outside. Each runs alone, once unmeasured as far as its imports
go, so that none pays for a cold disk. One that needs more than --minutes is stopped after three
epochs or when this shows, and the rest is added in proportion; its row says so.

Rows already in the file are not measured again (--again does). For a trial:
    python benchmarks/speed.py --data FOLDER --per-class 2 --minutes 0 --out trial.csv
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import speed_envs
import speed_report
import speed_rows
from speed_report import PHOTOS, TUNED
from speed_rows import Measured, Row

PEERS = Path(__file__).with_name("peers")
SEED = 0
# Nothing waits for a network, and nothing writes outside the folder that is thrown away.
QUIET = {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true", "TF_CPP_MIN_LOG_LEVEL": "3"}
# Where `finetune` keeps what it has computed, and there the converted networks.
CACHE, NETWORKS = "FINETUNE_CACHE", "models"


@dataclass(frozen=True)
class Set:
    """A data set, and images a class to train and to test on."""

    name: str
    train: int
    test: int
    source: str = ""  # the folder, where it is not called like the set


SETS = (Set(PHOTOS, 40, 20), Set(TUNED, 20, 20))
# For the probe alone: what its fixed costs are worth where there is more to compute.
MORE = Set("sign_digits10, many", 160, 40, source=TUNED)


@dataclass(frozen=True)
class Peer:
    """A contender: its script, its environment ("" is ours), whether it takes the weights."""

    script: str
    environment: str = ""
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ("torch",)
    weights: bool = True
    note: str = ""


PEER = {
    "loop-frozen": Peer("loops.py", arguments=("--body", "frozen")),
    "loop-full": Peer("loops.py", arguments=("--body", "full")),
    "fastai": Peer("fastai_default.py", "fastai", packages=("fastai", "torch")),
    "timm": Peer("timm_recipe.py", packages=("timm", "torch")),
    "ultralytics": Peer("ultralytics_default.py", "ultralytics", packages=("ultralytics", "torch")),
    "keras": Peer(
        "keras_guide.py",
        "keras",
        packages=("keras", "tensorflow-cpu"),
        weights=False,
        note="EfficientNetB0, untrained: time only, no accuracy to compare",
    ),
    "autogluon": Peer("", "autogluon", note="installs; it has no script here"),
}


@dataclass(frozen=True)
class Bench:
    """Where and how to measure."""

    data: Path
    scratch: Path
    envs: Path | None
    minutes: float
    repeats: int
    per_class: int | None
    images: int
    device: str = "cpu"

    def sized(self, chosen: Set) -> Set:
        """The set as it is to be used."""
        few = self.per_class
        return chosen if few is None else replace(chosen, train=few, test=few)

    def split(self, chosen: Set, owner: str) -> Path:
        """The images as ready-made train/ and test/; for each contender its own, same copy."""
        folder = self.scratch / "images" / owner / chosen.name
        if folder.exists():
            return folder
        size = self.sized(chosen)
        rng = random.Random(f"{chosen.name} {SEED}")
        origin = self.data / (chosen.source or chosen.name)
        for source in sorted(p for p in origin.iterdir() if p.is_dir()):
            files = sorted(p for p in source.iterdir() if p.is_file())
            picked = rng.sample(files, size.train + size.test)
            for i, file in enumerate(picked):
                part = "train" if i < size.train else "test"
                (folder / part / source.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / part / source.name / file.name)
        return folder

    def fresh(self, what: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.scratch))

    def weights(self) -> Path:
        """The backbone's weights in a file."""
        file = self.scratch / "weights.safetensors"
        if not file.exists():
            command = [sys.executable, str(PEERS / "weights.py"), str(file)]
            subprocess.run(command, check=True)
        return file

    def row(self, chosen: Set, name: str, measured: Measured, packages: Sequence[str]) -> Row:
        """A row about a process, with what its last line of JSON says."""
        if measured.code:
            raise RuntimeError(f"{name}, exit code {measured.code}: {measured.err[-2000:]}")
        count = {
            part: sum(p.is_file() for p in (self.split(chosen, "ours") / part).rglob("*"))
            for part in ("train", "test")
        }
        row = Row(
            date=now(),
            machine=machine(self.device),
            load=measured.load,
            data=chosen.name,
            name=name,
            train_n=count["train"],
            test_n=count["test"],
            seconds=measured.seconds,
            cpu_s=measured.cpu_s,
            peak_mb=measured.peak_mb,
            anon_mb=measured.anon_mb,
            versions=", ".join(packages),
        )
        return replace(row, **said(measured.out))

    def ours(self, chosen: Set, name: str, arguments: Sequence[str], cache: Path) -> Row:
        """Run `finetune`."""
        command = [sys.executable, "-m", "finetune", *arguments, "--json"]
        command += ["--device", self.device]
        measured = speed_rows.measure(command, {**QUIET, CACHE: str(cache)})
        return self.row(chosen, name, measured, [named("finetune-images"), named("openvino")])

    def floor(self, chosen: Set, name: str, folder: Path, arguments: Sequence[str]) -> Row:
        """The least that there is to do for a folder's images."""
        command = [sys.executable, str(PEERS / "floor.py"), str(folder), *arguments]
        return self.row(chosen, name, speed_rows.measure(command, QUIET), [named("openvino")])


def now() -> str:
    """The moment as the rows have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine(device: str = "cpu") -> str:
    """Processor and number of cores, and the card if one computes."""
    if device != "cpu":
        code = f"import torch; print(torch.cuda.get_device_name({device!r}))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return f"{done.stdout.strip()}, {machine()}"
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.partition(":")[2].strip() for x in lines if "model name" in x), model)
    return f"{model}, {os.cpu_count()} cores"


def named(package: str, python: Path | None = None) -> str:
    """A package with its version, in this or in another environment."""
    if python is None:
        return f"{package} {version(package)}"
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{package} {done.stdout.strip()}"


def said(out: str) -> dict[str, object]:
    """What the last line of JSON on stdout holds that belongs in a row."""
    lines = [x for x in out.splitlines() if x.startswith("{")]
    found = json.loads(lines[-1]) if lines else {}
    if "requested_strategy" in found:  # of `finetune train`
        accuracy = (found["test"] or {}).get("accuracy")
        note = "" if found["strategy"] == found["requested_strategy"] else found["strategy"]
        return {"accuracy": accuracy, "note": note and f"returned {note}"}
    wanted = {"remaining_s", "epochs_run", "epochs_of", "epoch_s", "compute_s", "side_px", "batch"}
    wanted |= {"accuracy", "last_accuracy", "note"}
    return {name: value for name, value in found.items() if name in wanted}


def warm_up() -> None:
    """Bring the files that every run of ours reads into the disk cache."""
    modules = "finetune.workflows.train, torch, torchvision, timm, openvino"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)


def probe(bench: Bench, chosen: Set) -> Iterator[Row]:
    """The linear probe for the first time ever, on new images, and on known ones; the floors."""
    folder = bench.split(chosen, "ours")
    image = next(p for p in sorted((folder / "test").rglob("*")) if p.is_file())
    for _ in range(bench.repeats):
        cache, later, runs = (bench.fresh(x) for x in ("cache", "later", "runs"))
        for name, known in (("probe-cold", cache), ("probe-new", later), ("probe-warm", cache)):
            out = ["--out", str(runs / name)]
            arguments = ["train", str(folder), "--strategy", "linear-probe", *out]
            yield bench.ours(chosen, name, arguments, known)
            if name == "probe-cold":
                shutil.copytree(cache / NETWORKS, later / NETWORKS)
        run = ["--run", str(runs / "probe-cold")]
        yield bench.ours(chosen, "predict-1", ["predict", str(image), *run], cache)
        floors = {"floor": [], "floor-torch": ["--torch"]}
        for name, how in floors.items() if bench.device == "cpu" else ():
            yield bench.floor(chosen, name, folder, [*run, *how])


def recommend(bench: Bench, chosen: Set) -> Iterator[Row]:
    """A look at the data, and the training that follows it."""
    folder = bench.split(chosen, "ours")
    for _ in range(bench.repeats):
        cache, runs = bench.fresh("cache"), bench.fresh("runs")
        yield bench.ours(chosen, "recommend", ["recommend", str(folder)], cache)
        arguments = ["train", str(folder), "--strategy", "linear-probe", "--out", str(runs / "run")]
        yield bench.ours(chosen, "train-after-recommend", arguments, cache)


def predict(bench: Bench, chosen: Set) -> Iterator[Row]:
    """A folder of photographs, and what reading and the engine take for it."""
    if chosen.name != PHOTOS:
        return
    many = bench.split(replace(chosen, train=160, test=40), "many")
    count = sum(p.is_file() for p in many.rglob("*"))
    out, cache = str(bench.fresh("runs") / "probe"), bench.fresh("cache")
    asked = ["train", str(bench.split(chosen, "ours")), "--strategy", "linear-probe"]
    bench.ours(chosen, "train", [*asked, "--out", out], cache)
    run = ["--run", out]
    for _ in range(bench.repeats):
        rows = [bench.ours(chosen, "predict-many", ["predict", str(many), *run], cache)]
        if bench.device == "cpu":  # the floors are of the CPU's engine
            rows.append(bench.floor(chosen, "floor-many", many, run))
            rows.append(bench.floor(chosen, "engine-many", many, [*run, "--bare"]))
        yield from (replace(row, train_n=count, test_n=0) for row in rows)


def deep(bench: Bench, chosen: Set) -> Iterator[Row]:
    """Deep tuning, and a plain loop with the settings of its run."""
    if chosen.name != TUNED:
        return
    folder, run = bench.split(chosen, "ours"), bench.fresh("runs") / "deep"
    arguments = ["train", str(folder), "--strategy", "deep", "--out", str(run)]
    row = bench.ours(chosen, "deep", arguments, bench.fresh("cache"))
    plan = json.loads((run / "run.json").read_text())["plan"]
    lines = (run / "history.jsonl").read_text().splitlines()
    seconds = [json.loads(x)["seconds"] for x in lines]
    row = replace(row, side_px=plan["side_px"], batch=plan["batch_size"])
    if seconds:  # none where the probe was kept
        each = sum(seconds) / len(seconds)
        row = replace(row, epoch_s=each, epochs_run=len(seconds), epochs_of=len(seconds))
    yield row
    command = [sys.executable, str(PEERS / "eager_deep.py"), str(folder), "--run", str(run)]
    command += ["--weights", str(bench.weights()), "--minutes", str(bench.minutes)]
    command += ["--device", bench.device]
    measured = speed_rows.measure(command, QUIET)
    yield bench.row(chosen, "deep-eager", measured, [named("torch")])


def peer(name: str) -> Callable[[Bench, Set], Iterator[Row]]:
    """The group of one contender."""

    def measured(bench: Bench, chosen: Set) -> Iterator[Row]:
        known = PEER[name]
        reason = speed_envs.fault(bench.envs, known.environment) if known.environment else ""
        if not reason and bench.device != "cpu" and "tensorflow-cpu" in known.packages:
            reason = "its environment is for CPUs"
        if reason or not known.script:
            note = reason or known.note
            yield Row(
                now(), machine(bench.device), None, chosen.name, name, 0, 0, seconds=None, note=note
            )
            return
        python = Path(sys.executable)
        if known.environment and bench.envs is not None:
            python = speed_envs.python(bench.envs, known.environment)
        script = [str(python), str(PEERS / known.script)]
        settings = {**QUIET, "YOLO_CONFIG_DIR": str(bench.scratch), "PYTHONPATH": None}
        speed_rows.measure([*script, "--help"], settings)  # brings the imports into the disk cache
        folder = bench.split(chosen, name)
        command = [*script, str(folder), *known.arguments, "--minutes", str(bench.minutes)]
        command += ["--weights", str(bench.weights())] if known.weights else []
        command += ["--device", bench.device]
        packages = [named(p, python) for p in known.packages]
        row = bench.row(chosen, name, speed_rows.measure(command, settings), packages)
        yield replace(row, note=known.note)

    return measured


def scale(bench: Bench, chosen: Set) -> Iterator[Row]:
    """Memory and time from few images to many, made by repetition with distinct bytes."""
    if chosen.name != TUNED:
        return
    few = min(1000, bench.images // 5)
    short = (few, max(2 * few, bench.images // 10))
    # the long one between the others: the machine may be another after minutes
    for images in (*short, bench.images, *(bench.repeats - 1) * short):
        folder, cache, runs = (bench.fresh(x) for x in ("many", "cache", "runs"))
        repeat(bench.data / chosen.name, images, folder)
        arguments = ["train", str(folder), "--strategy", "linear-probe", "--test-fraction", "0.02"]
        row = bench.ours(chosen, f"scale-{images}", [*arguments, "--out", str(runs / "r")], cache)
        # nearly all test images have a twin among the others: their accuracy says nothing
        yield replace(row, train_n=images, test_n=0, accuracy=None)
        for used in (folder, cache, runs):
            shutil.rmtree(used)


def repeat(source: Path, images: int, folder: Path) -> None:
    """Fill a folder with so many files, class after class, no two with the same bytes."""
    classes = sorted(p for p in source.iterdir() if p.is_dir())
    files = [sorted(p for p in c.iterdir() if p.is_file()) for c in classes]
    for c in classes:
        (folder / c.name).mkdir(parents=True)
    for i in range(images):
        label, turn = i % len(classes), i // len(classes)
        file = files[label][turn % len(files[label])]
        content = distinct(file.read_bytes(), i)
        (folder / classes[label].name / f"{i:06}{file.suffix}").write_bytes(content)


def distinct(content: bytes, number: int) -> bytes:
    """The same JPEG with a number in a comment: other bytes, same pixels.

    Raises:
        ValueError: it is no JPEG.
    """
    start, text = b"\xff\xd8", str(number).encode()
    if not content.startswith(start):
        raise ValueError("only JPEG files can be told apart by a comment")
    # a comment's length counts its own two bytes
    return start + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + content[len(start) :]


GROUPS: dict[str, Callable[[Bench, Set], Iterator[Row]]] = {
    "probe": probe,
    "predict": predict,
    "recommend": recommend,
    "deep": deep,
    **{name: peer(name) for name in PEER},
    "scale": scale,
}
# What a group measures, where it is not one row of its own name.
NAMES = {
    "probe": ("probe-cold", "probe-new", "probe-warm", "predict-1", "floor", "floor-torch"),
    "predict": ("predict-many", "floor-many", "engine-many"),
    "recommend": ("recommend", "train-after-recommend"),
    "deep": ("deep", "deep-eager"),
}


def belongs(row: Row, group: str) -> bool:
    """Whether a row was measured by a group."""
    names = NAMES.get(group, (group,))
    return row.name in names or (group == "scale" and row.name.startswith(group))


def run(bench: Bench, groups: Sequence[str], out: Path, *, again: bool) -> None:
    """Measure what is missing, keep each group's rows as they come."""
    warm_up()
    for group in groups:
        for chosen in (*SETS, MORE) if group == "probe" else SETS:
            known = speed_rows.read(out)
            mine = [r for r in known if belongs(r, group) and r.data == chosen.name]
            # a tool that could not be run is tried again: it may have been set up since
            if any(r.seconds is not None for r in mine) and not again:
                continue
            print(f"{group}, {chosen.name}", file=sys.stderr, flush=True)
            try:
                new = list(GROUPS[group](bench, chosen))
            except RuntimeError as error:
                print(f"failed: {error}", file=sys.stderr, flush=True)
                continue
            for row in new:
                print(" ", speed_report.brief(row), file=sys.stderr, flush=True)
            if new:
                speed_rows.write([*(r for r in known if r not in mine), *new], out)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", type=Path, metavar="ENVS", help="Make the environments.")
    parser.add_argument("--envs", type=Path, help="Where they are.")
    parser.add_argument("--data", type=Path, help="Holds the data sets.")
    parser.add_argument("--only", nargs="+", choices=[*GROUPS], default=[*GROUPS])
    parser.add_argument("--minutes", type=float, default=math.inf, help="Limit of a contender.")
    parser.add_argument("--repeats", type=int, default=3, help="Of our own short runs.")
    parser.add_argument("--images", type=int, default=50_000, help="Most images of `scale`.")
    parser.add_argument("--per-class", type=int, help="For a trial: so many to train and test on.")
    parser.add_argument("--again", action="store_true", help="Measure what is there as well.")
    parser.add_argument("--device", default="cpu", help="Where the contenders compute: cpu, cuda.")
    parser.add_argument("--out", type=Path, help="The rows; of a card they are in another file.")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--docs", type=Path, help="Write the report there, too.")
    found = parser.parse_args()
    card = "" if found.device == "cpu" else "_" + found.device.partition(":")[0]
    if found.per_class and not found.out:
        parser.error("--per-class is for trials: give another file with --out")
    if not (found.setup or found.report or found.data):
        parser.error("one of --setup, --data and --report is needed")
    found.out = found.out or speed_rows.ROWS.with_stem(speed_rows.ROWS.stem + card)
    return found


def main() -> None:
    """Set up, measure, report."""
    asked = options()
    if asked.setup:
        speed_envs.make(asked.setup, [n for n in speed_envs.ENVIRONMENTS if n in asked.only])
    if asked.data:
        envs = asked.envs or asked.setup
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(
                data=asked.data,
                scratch=Path(scratch),
                envs=envs and envs.resolve(),
                minutes=asked.minutes,
                repeats=asked.repeats,
                per_class=asked.per_class,
                images=asked.images,
                device=asked.device,
            )
            run(bench, asked.only, asked.out, again=asked.again)
    if asked.report:
        text = speed_report.text(speed_rows.read(asked.out))
        print(text, end="")
        if asked.docs:
            asked.docs.write_text(text)


if __name__ == "__main__":
    main()

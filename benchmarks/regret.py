"""How often the decision is right: every strategy on many small data sets, and what each rule gets.

    python benchmarks/regret.py --data FOLDER_OF_DATA_SETS [--part 0/2] [--seeds 0 1]
    python benchmarks/regret.py --report

The first form measures what is missing from regret.csv, one row at a time, and may be stopped and
started again; `--part 0/2` and `--part 1/2` share the work between two processes (one thread each:
two threads in one process are slower than two processes). Seconds are CPU seconds. The second form
prints the tables from the rows alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

ROWS = Path(__file__).with_suffix(".csv")
EVIDENCE = Path(__file__).with_name("regret_evidence.csv")
SIZES = (5, 20, 40, 200)
TEST_FRACTION = 0.3
TEST_MOST = 1000
TRIAL_STEPS = 100
TRIAL_SIDE_PX = 128
# Photographs lose more by shrinking than drawings do: tuned at 160 px, the others at 128 px.
NEAR_SIDE_PX = 160

# An expert's word for each set: the hand-given label that one of the rivals uses, and what the
# tuning recipe's rate is chosen by, so that it is honest whatever the program would measure.
SETS = {
    "flowers5": "similar",
    "clothing10": "similar",
    "fruit3_tiny": "similar",
    "sign_digits10": "different",
    "clipart8": "different",
    "edges16": "different",
    "brain_mri2": "different",
    "wbc4": "different",
    "omniglot_greek24": "different",
    "mathsym18": "different",
    "mnist_5k": "different",
    "spoken_digit_spec10": "different",
}
# Images of the commonest class that are not test, where there are fewer than 200 (or 40, or 20):
# a size that adds hardly any images to the one before is left out.
MOST = {
    "fruit3_tiny": 5,
    "edges16": 5,
    "omniglot_greek24": 20,
    "brain_mri2": 40,
    "clipart8": 40,
    "wbc4": 40,
}
LARGE = ("flowers5", "clothing10", "sign_digits10", "mnist_5k", "spoken_digit_spec10")
ORDER = (
    *((5, 0), (20, 0), (40, 0), (5, 1), (20, 1), (200, 0), (40, 1), (5, 2), (20, 2)),
    *((200, 1), (40, 2)),
)
# The second half judges again where one half has too few images to tell.
TRIALS_TWICE_UP_TO = 20
KINDS = ("linear-probe", "stage-probe", "trial-1", "trial-2", "partial", "deep")


@dataclass(frozen=True)
class Row:
    """One measurement. Probes and tuned models: accuracy on test images. Trials: tuned on one half
    of the training images, accuracy on the other, and the lead over the best probe on the same
    halves with its standard error, in accuracy and in log loss (`less`: how much less).
    """

    data: str
    per_class: int
    seed: int
    kind: str
    learnt_from: int
    judged_on: int
    accuracy: float
    log_loss: float
    gain: float | None
    gain_noise: float | None
    less: float | None
    less_noise: float | None
    side_px: int
    epochs: int
    batch_size: int
    lr: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, int, str]:
        return self.data, self.per_class, self.seed, self.kind


def read(path: Path = ROWS) -> list[Row]:
    """The rows measured so far."""
    if not path.exists():
        return []
    types: dict[str, Callable[[str], object]] = {
        f.name: {"str": str, "int": int}.get(str(f.type), lambda v: float(v) if v else None)
        for f in fields(Row)
    }
    with path.open(newline="") as file:
        return [
            Row(**{k: types[k](v) for k, v in line.items()})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


def append(row: Row | Evidence, path: Path) -> None:
    """Add one line in one write, so that two processes may share the file."""
    line = io.StringIO()
    writer = csv.DictWriter(line, [f.name for f in fields(row)], lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(row).items()})
    with path.open("a") as file:
        file.write(line.getvalue())


def cells(seeds: list[int]) -> Iterator[tuple[str, int, int]]:
    """What is to be measured, the most telling for its cost first."""
    for size, seed in ORDER:
        for name in SETS:
            if seed in seeds and size <= MOST.get(name, 200) and (size < 200 or name in LARGE):
                yield name, size, seed


@dataclass(frozen=True)
class Evidence:
    """What the program measures of one cell before any tuning."""

    data: str
    per_class: int
    seed: int
    images: int
    rarest: int
    classes: int
    size: str
    limit: str
    similarity: str
    column: str
    drift: float | None
    agreement: float | None
    leads: float | None
    diversity: float
    best_probe: str
    probe_accuracy: float
    top_accuracy: float
    deciding_seconds: float


def measure(root: Path, name: str, per_class: int, seed: int, missing: set[str]) -> Iterator[Row]:
    """Measure what is missing of one cell; its evidence is kept beside the rows."""
    import numpy as np
    import torch

    from finetune import batches, decide, evaluate, probe, realise, strategy, survey, tune
    from finetune.survey import Clock

    seen, lookup = look(root, name, per_class, seed)
    clock, labels, classes = Clock(Quiet()), seen.labels, seen.dataset.classes
    began = time.process_time()
    probes = survey.fit_probes(seen, clock, all_stages=True)
    probing = time.process_time() - began
    measured = survey.measure(seen, probes, clock)
    append(evidence(name, per_class, seed, seen, probes, measured, clock), EVIDENCE)

    rng = np.random.default_rng(seed)
    some = sorted(rng.permutation(len(seen.splits.test))[:TEST_MOST].tolist())
    tests = [seen.splits.test[i] for i in some]
    test_paths = [root / name / s.path for s in tests]
    test_labels = np.array([s.label for s in tests])

    def row(kind, scores, temperature, truth, plan, seconds, learnt, lead=(None,) * 4) -> Row:
        found = evaluate.measure(probe.probabilities(scores, temperature), truth, classes)
        return Row(
            *(name, per_class, seed, kind, learnt, len(truth), found.accuracy, found.log_loss),
            *(*lead, plan.side_px, plan.epochs, plan.batch_size, plan.lr, seconds),
        )

    for kind, chosen in (("linear-probe", probes.top), ("stage-probe", probes.best)):
        if kind in missing:
            plan = survey.plan_for(seen, measured, probes, kind)
            head = seen.head(chosen)
            scores = probe.score(head, lookup(test_paths).columns(chosen.score.taps))
            yield row(kind, scores, head.temperature, test_labels, plan, probing, len(labels))

    if missing & {"trial-1", "trial-2"}:
        began = time.process_time()
        most = 2 if "trial-2" in missing else 1
        tried = decide.attempt_tuning(seen, probes, measured, clock, most=most)
        seconds = (time.process_time() - began) / len(tried.results)
        full = survey.plan_for(seen, measured, probes, "deep")
        start = 0
        for number, (result, (_, held)) in enumerate(
            zip(tried.results, tried.trial.parts, strict=True), start=1
        ):
            scores = tried.trial.scores[start : start + len(held)]
            start += len(held)
            part = tune.Trial((tried.trial.parts[number - 1],), scores, None, "")
            lead = realise.lead(seen, probes, part)
            temperature = probe.fit_temperature(scores, labels[held])
            plan = strategy.short(full, result.learnt_from)
            kind, learnt = f"trial-{number}", result.learnt_from
            yield row(kind, scores, temperature, labels[held], plan, seconds, learnt, lead)

    for kind in ("partial", "deep"):
        if kind not in missing:
            continue
        plan = survey.plan_for(seen, measured, probes, kind)
        began = time.process_time()
        made = realise.material(seen, plan, clock)
        tuned = tune.on_everything(made, plan)
        seconds = time.process_time() - began
        pixels = batches.load(test_paths, plan.side_px, 1)
        device = torch.device("cpu")
        scores = probe.score(tuned.head, tune.top_features(tuned.backbone, device, pixels))
        temperature = probe.fit_temperature(scores, test_labels)
        yield row(kind, scores, temperature, test_labels, plan, seconds, len(labels))


def look(root: Path, name: str, per_class: int, seed: int):
    """A survey of one cell from remembered features, and the memory."""
    import numpy as np
    import torch

    from finetune import data, probe
    from finetune.records import Request
    from finetune.survey import Survey

    backbone, facts, runtime, lookup = _backbone()
    label = SETS[name]
    side = NEAR_SIDE_PX if label == "similar" else TRIAL_SIDE_PX
    request = Request(
        root=str(root / name),
        seed=seed,
        similarity=label,
        test_fraction=TEST_FRACTION,
        max_per_class=per_class,
        options={"side_px": side},
    )
    dataset = data.scan(root / name)
    splits = data.split(
        dataset, seed=seed, test_fraction=TEST_FRACTION, max_per_class=per_class, val_fraction=0.2
    )
    labels = np.array([s.label for s in splits.fitting])
    survey = Survey(
        request=request,
        dataset=dataset,
        splits=splits,
        backbone=backbone,
        facts=facts,
        device=torch.device("cpu"),
        runtime=runtime,
        table=lookup([root / name / s.path for s in splits.fitting]),
        samples=splits.fitting,
        labels=labels,
        fold=probe.folds(labels, [s.digest for s in splits.fitting]),
        findings=(),
        seconds_per_image=0.0,
        listener=Quiet(),
    )
    return survey, lookup


def evidence(name, per_class, seed, seen, probes, measured, clock) -> Evidence:
    """What was measured, as a row."""
    parts = {p.name: p.value for p in measured.similarity.parts}
    return Evidence(
        *(name, per_class, seed, measured.size.images, measured.size.rarest_class),
        *(measured.size.classes, measured.size.verdict, measured.size.limit or ""),
        *(measured.similarity.verdict, measured.similarity.column),
        *(parts["BatchNorm drift"], parts["label agreement"], parts["stage profile"]),
        *(measured.similarity.diversity, probes.name, probes.best.score.accuracy),
        *(probes.top.score.accuracy, clock.seconds["probes"]),
    )


class Quiet:
    """Hears nothing."""

    def step(self, name: str) -> None: ...
    def progress(self, done: int, total: int) -> None: ...
    def epoch(self, record: object) -> None: ...
    def note(self, text: str) -> None: ...


@cache
def _backbone():
    """The default backbone, its engine, and a memory of the features of each image."""
    import numpy as np
    import torch

    from finetune import backbones, engine, features

    torch.set_num_threads(1)
    backbone, facts = backbones.build(backbones.DEFAULT)
    runtime = engine.make(backbone, torch.device("cpu"), facts.preprocess.side_px, 10_000)
    known: dict[Path, object] = {}

    def lookup(paths: list[Path]):
        new = [p for p in paths if p not in known]
        if new:
            table = features.extract(new, runtime, facts.preprocess.side_px, lambda _a, _b: None)
            known.update(zip(new, table.rows, strict=True))
        rows = np.stack([known[p] for p in paths])
        return features.Table(rows, np.arange(len(rows)), runtime.layout, ())

    return backbone, facts, runtime, lookup


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    part, parts = (int(v) for v in options.part.split("/"))
    for number, (name, size, seed) in enumerate(cells(options.seeds)):
        if number % parts != part or size not in options.sizes:
            continue
        done = {r.kind for r in read() if r.key[:3] == (name, size, seed)}
        missing = set(KINDS) - done - ({"trial-2"} if size > TRIALS_TWICE_UP_TO else set())
        if missing:
            for row in measure(options.data, name, size, seed, missing):
                append(row, ROWS)
                print(row, flush=True)


if __name__ == "__main__":
    main()

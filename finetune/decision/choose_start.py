"""Choose where to start: the network of a run of one's own, or ImageNet's, on images new to both.

Both are judged by the best linear classifier on their features, each image left out once, and only
on images that have not taught the run's network: of the others it has learnt the answers by heart
(docs/decisions/0030-start-from.md).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.analysis import analyze, bodies, target_probes, taught
from finetune.analysis.clock import Clock
from finetune.analysis.look import Seen
from finetune.backbones import features, registry
from finetune.backbones.prepared import Prepared
from finetune.decision import backbone_race, forecast, start_judged
from finetune.decision.start_judged import IMAGENET, Both, Judged
from finetune.records.backbone_choice import BackboneChoice, Candidate, Standing
from finetune.records.choices import TargetKind, spoken_metric
from finetune.records.dataset import Sample
from finetune.records.errors import DataError, safe_name
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.records.run import RunFacts
from finetune.records.start import StartFacts
from finetune.runs import places, run_folder, start
from finetune.sources import readers

SHOWN = 5  # names of classes in a sentence
_WORDS: dict[TargetKind, tuple[str, str]] = {
    "classes": ("class", "classes"),
    "labels": ("label", "labels"),
    "number": ("number", "numbers"),
}


@dataclass(frozen=True, kw_only=True)
class _Start:
    """One of the two networks: its weights as for `BackboneOptions`, and its name in a sentence."""

    title: str
    weights: str | None
    body: Prepared
    image_s: float


def choose(seen: Seen, options: Options, listener: Listener, clock: Clock) -> BackboneChoice:
    """Compare a run's network with ImageNet's weights of the same network, and take the better.

    Within a standard error the run stays, which the user has named; so it does where there are no
    such weights on this machine. Where fewer than `taught.FEWEST_NEW` images are new to it,
    nothing says what it is worth, and ImageNet's weights are taken.

    Args:
        seen: The data; no image of its test is opened.
        options: With `start_from`.
        listener: Hears of progress.
        clock: Times it.

    Raises:
        RunError: the run cannot be read.
        DataError: no image can be read.
    """
    began = time.perf_counter()
    run = str(options.backbone.start_from)
    origin = start.as_start(run, options.backbone.name)
    assert origin is not None, "it was required to be a run"
    folder = Path(origin.file).parent
    facts = run_folder.load_facts(folder)
    name = safe_name(folder.resolve().name)
    samples = seen.fitting
    known = taught.rows(samples, seen.learnt)
    new = int(np.count_nonzero(~known))
    mine = _start(options, places.absolute(run), f"run {name}", seen, listener, clock)
    rival = None
    if registry.on_disk(facts.backbone.name) is not None:
        rival = _start(options, None, IMAGENET, seen, listener, clock)
    judged = None
    if rival is None:
        chosen, why = mine, f"no {IMAGENET} of {facts.backbone.name} are on this machine"
    elif rival.body.facts.backbone.digest == mine.body.facts.backbone.digest:
        chosen, why = rival, f"run {name} has them unchanged: it is a {facts.strategy}"
    elif new < taught.FEWEST_NEW:
        chosen = rival
        why = (
            f"{len(samples) - new} of {len(samples)} images have taught run {name}, and on the "
            f"{new} others nothing can be told (--weights {run} takes its network in any case)"
        )
    else:
        with clock.step("choice", f"comparing run {name} with {IMAGENET}"):
            judged = _judged((mine, rival), samples, known, seen, options, listener)
        chosen, why = (rival if judged.better == "imagenet" else mine), judged.reason
    told = _told(chosen, why, seen, facts, folder, name)
    told = replace(told, learnt=int(np.count_nonzero(known)) if chosen is mine else 0)
    listener.note(told.text)
    rows = [_row(one, one is chosen, judged) for one in (mine, rival) if one is not None]
    return BackboneChoice(
        name=facts.backbone.name,
        weights=chosen.weights,
        reason=told.text,
        candidates=tuple(sorted(rows, key=lambda row: row.standing != "chosen")),
        seconds=time.perf_counter() - began,
        start=told,
    )


def _start(
    options: Options, weights: str | None, title: str, seen: Seen, listener: Listener, clock: Clock
) -> _Start:
    """Get one of them ready and time it."""
    asked = replace(options.backbone, start_from=None, weights=weights)
    root = readers.root_of(options.data.root, options.data.columns)
    paths = [root / s.path for s in seen.fitting]
    body = bodies.prepare(replace(options, backbone=asked), paths, seen.scaled, listener, clock)
    _, image_s = backbone_race.timed(body)
    return _Start(title=title, weights=weights, body=body, image_s=image_s)


def _judged(
    pair: tuple[_Start, _Start],
    samples: Sequence[Sample],
    known: npt.NDArray[np.bool_],
    seen: Seen,
    options: Options,
    listener: Listener,
) -> Judged:
    """The best probe of each, fitted on all images and judged on those that are new to the run.

    Of many images a part is looked at, as much as a fifth of the budget allows.
    """
    labels = np.array([s.label for s in samples], np.int64)
    budget = options.decision.budget_s or forecast.DEFAULT_BUDGET_S
    room = int(backbone_race.SHARE * budget / sum(one.image_s for one in pair))
    rows = taught.ranked(labels, known, max(room, backbone_race.IMAGES[0]))
    root = readers.root_of(options.data.root, options.data.columns)
    some = [samples[i] for i in rows.tolist()]
    paths, digests = [root / s.path for s in some], [s.digest for s in some]
    mine, rival = (
        features.extract(
            paths,
            one.body.engine,
            one.body.facts.backbone.preprocess.side_px,
            listener,
            digests,
            seen.scaled,
            analyze.box_of(options, one.body),
        )
        for one in pair
    )
    kept = np.asarray(mine.kept, np.int64)  # both have decoded the same pictures
    left = np.flatnonzero(~known[rows[kept]])
    if not len(left):
        raise DataError(
            f"no image of {options.data.root} that is new to {options.backbone.start_from} can be "
            "read",
            hint="`finetune check` names what is wrong with each file.",
        )
    both = Both(
        features=(mine.rows[:], rival.rows[:]),
        about=(pair[0].body.facts, pair[1].body.facts),
        samples=[some[i] for i in kept.tolist()],
        judged=left,
        wanted=seen.wanted,
    )
    target = seen.examined.dataset.target
    if target is None:
        return start_judged.of_classes(both, options.decision)
    values = target_probes.truth_of(tuple(samples))
    return start_judged.of_target(both, options.decision, target, values)


def _told(
    chosen: _Start, why: str, seen: Seen, facts: RunFacts, folder: Path, name: str
) -> StartFacts:
    """What came of it, with the classes, labels or numbers of both."""
    target = seen.examined.dataset.target
    kind: TargetKind = "classes" if target is None else target.kind
    classes = seen.examined.dataset.classes if target is None else target.names
    its: TargetKind = "classes" if facts.target is None else facts.target.kind
    old = facts.classes if its == kind else ()  # what is of another kind is not the same
    shared = tuple(c for c in classes if c in set(old))
    added = tuple(c for c in classes if c not in set(old))
    missing = tuple(c for c in old if c not in set(classes))
    own = chosen.weights is not None
    how = _classes(kind, name, shared, added, missing)
    if its != kind:
        how = f"Run {name} is of {_WORDS[its][1]}: it is another task"
    text = f"Start: {chosen.title}, because {why}" if why else ""
    return StartFacts(
        run=safe_name(str(folder)),
        strategy=facts.strategy,
        kept="run" if own else "imagenet",
        shared=shared,
        added=added,
        missing=missing,
        learnt=0,
        text=f"{text}. {how}",
        target=its,
    )


def _classes(
    kind: TargetKind, name: str, shared: Sequence[str], added: Sequence[str], missing: Sequence[str]
) -> str:
    """How the classes of both are related, or their labels or numbers."""
    one, several = _WORDS[kind]
    if not shared:
        return f"No {one} is of run {name}: it is another task"
    if not added and not missing:
        return f"The {several} are those of run {name}"
    told = [f"{len(shared)} of the {several} are of run {name}"]
    if added:
        told.append(f"{len(added)} new: {_some(added)}")
    if missing:
        told.append(
            f"{len(missing)} of the run have no images here and cannot be answered any more: "
            f"{_some(missing)}"
        )
    return "; ".join(told)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(safe_name, names[:SHOWN])) + more


def _row(one: _Start, chosen: bool, found: Judged | None) -> Candidate:
    """What is told of one of them."""
    about = one.body.facts.backbone
    standing: Standing = "chosen" if chosen else "worse" if found else "out"
    row = Candidate(
        name=f"{about.name}, {one.title}",
        licence=about.licence,
        permissive=True,
        standing=standing,
        why="the other was taken" if not chosen else "not compared" if found is None else "better",
        parameters=about.parameters,
        side_px=about.preprocess.side_px,
        image_ms=1000 * one.image_s,
    )
    if found is None:
        return row
    rival = one.weights is None
    best, more = (found.imagenet, -found.more) if rival else (found.run, found.more)
    behind = max(0.0, -found.behind if rival else found.behind)
    metric = spoken_metric(found.metric)
    why = f"{more:+.3f} ± {found.noise:.3f} {metric} against the other"
    if chosen:
        better = f"the {'better' if found.metric != 'log-loss' else 'least'} {metric}"
        why = "within a standard error: you named it" if found.better == "tied" else better
    return replace(
        row,
        why=why,
        images=found.images,
        features=best.features,
        accuracy=best.accuracy,
        log_loss=best.log_loss,
        metric=None if best.score is None else found.metric,
        score=best.score,
        loss=best.loss,
        behind=behind,
        noise=found.noise if behind else 0.0,
    )

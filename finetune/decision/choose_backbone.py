"""Choose the pretrained network: by what its probe reaches on some images, and by its time.

Few images first, and what is clearly behind then is dropped (successive halving: Jamieson and
Talwalkar 2016). The others are compared on the same images, each left out once; where the best is
ahead by no more than a standard error the faster one stays (docs/decisions/0018-backbone-auto.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finetune.analysis import probes
from finetune.analysis.clock import Clock
from finetune.analysis.look import Seen
from finetune.decision import candidates
from finetune.decision.backbone_race import SHARE, Race, Racer, TargetLeftOut
from finetune.decision.candidates import Source
from finetune.metrics.paired import paired
from finetune.records.backbone_choice import BackboneChoice, Candidate
from finetune.records.errors import BackboneError
from finetune.records.events import Listener
from finetune.records.options import Options

CLEARLY = probes.CLEARLY  # standard errors behind, to be dropped
TIED = 1.0  # standard errors within which the faster one stays (Breiman et al. 1984)
FASTER = 0.9  # of another's time: timing itself is no better
FEWEST_LEFT = 3


def choose(
    seen: Seen,
    options: Options,
    listener: Listener,
    clock: Clock,
    sources: Sequence[Source] | None = None,
) -> BackboneChoice:
    """Choose a network among those on disk.

    Args:
        seen: The data; no image of its test is opened.
        options: Which licences and which latency are allowed, the budget, and the strategy.
        listener: Hears of progress.
        clock: Times it.
        sources: The networks; None for those on disk, and where `fetch` says so the short list.

    Raises:
        BackboneError: none is left.
    """
    left = [] if sources is not None else candidates.fetched(options.backbone, listener)
    sources = candidates.on_disk() if sources is None else sources
    with clock.step("choice", f"choosing among {len(sources)} backbones"):
        race = Race(seen=seen, options=options, listener=listener)
        entered, out = _entered(race, sources)
        racers = [r for r in entered if r.standing != "out"]
        spare = [r for r in entered if r.spare]
        if not spare:
            raise _nothing_left([*map(_row, entered), *out, *left])
        if len(racers) > 1:
            images = _run(race, racers)
            chosen, reason = _decided(racers, images)
        else:
            chosen, reason = _only(racers or spare, len(sources))
        reason += f". Choosing took {race.spent:.0f} s, which the budget counts"
    listener.note(reason)
    rows = sorted(entered, key=lambda r: (r is not chosen, -len(r.rows), r.behind))
    return BackboneChoice(
        name=chosen.name,
        weights=chosen.source.weights,
        reason=reason,
        candidates=(*(_row(r) for r in rows), *out, *left),
        seconds=race.spent,
    )


def _entered(race: Race, sources: Sequence[Source]) -> tuple[list[Racer], list[Candidate]]:
    """The networks that were timed, and the others with the reason."""
    racers: list[Racer] = []
    out: list[Candidate] = []
    for source in sources:
        row = Candidate(
            name=source.name,
            licence=source.licence,
            permissive=source.permissive,
            standing="out",
            why=candidates.not_allowed(source.licence),
        )
        if not source.permissive and race.options.backbone.licence != "any":
            out.append(row)
            continue
        try:
            found = race.enter(source, first=all(r.standing == "out" for r in racers))
        except BackboneError as error:
            found = error.message
        why = found if isinstance(found, str) else found.why
        if why:
            race.listener.note(f"{source.name}: {why}")
        if isinstance(found, str):
            out.append(replace(row, why=found))
        else:
            racers.append(found)
    return racers, out


def _run(race: Race, racers: list[Racer]) -> int:
    """Measure on more and more images while more than one is left.

    Returns:
        On how many images those that were left were measured last.
    """
    left, images = list(racers), 0
    for count in race.steps:
        if len(left) == 1:
            break
        cost = sum(r.image_s for r in left) * (count - images)
        if images and race.spent + cost > SHARE * race.budget:
            race.listener.note(
                f"choosing on {images} images: {count} would take more than "
                f"{SHARE * race.budget:.0f} s in all"
            )
            break
        race.measure(left, count)
        images = count
        left = _survivors(left, images, last=count == race.steps[-1])
        for racer in racers:
            racer.engine = racer.engine if racer in left else None
    return images


def _survivors(left: list[Racer], images: int, *, last: bool) -> list[Racer]:
    """Those that are not clearly behind; of many the better half, and the fastest."""
    best = min(left, key=lambda r: r.loss)
    for racer in left:
        differences = racer.probe.losses - best.probe.losses
        racer.behind, racer.noise = paired(differences, best.probe.groups)
        if racer is not best and racer.behind > CLEARLY * racer.noise:
            racer.standing, racer.why = "worse", _more(racer, best, images)
    good = sorted((r for r in left if r.standing != "worse"), key=lambda r: r.loss)
    if last:
        return good
    most = max(FEWEST_LEFT, (len(left) + 1) // 2)
    fastest = min(good, key=lambda r: r.image_s)
    kept = [r for i, r in enumerate(good) if i < most or r is fastest]
    for racer in good:
        if racer not in kept:
            racer.standing = "worse"
            racer.why = f"not in the better half: {_more(racer, best, images)}"
    return kept


def _only(left: list[Racer], count: int) -> tuple[Racer, str]:
    """What is taken where nothing is to be compared, and why.

    Args:
        left: Those that may be taken; of several, all out for the budget, the fastest.
        count: How many networks there are on this machine.
    """
    chosen = min(left, key=lambda r: r.image_s)
    chosen.standing = "chosen"
    chosen.why = "the only one on this machine (`finetune backbones fetch NAME` gets others)"
    if len(left) > 1:
        chosen.why = f"the fastest of {count}; the budget leaves no time to compare them"
    elif count > 1:
        chosen.why = f"of {count} the only one that is not out"
    return chosen, f"Backbone: {chosen.name}, {chosen.why}"


def _decided(racers: list[Racer], images: int) -> tuple[Racer, str]:
    """The network to take, and why; the others are told why not."""
    left = [r for r in racers if r.standing != "worse"]
    best = min(left, key=lambda r: r.loss)
    tied = [r for r in left if r is best or r.behind <= TIED * r.noise]
    quick = [r for r in tied if r.image_s < FASTER * best.image_s]
    chosen = min(quick, key=lambda r: r.image_s) if quick else best
    on = f"on {images} images, each left out once"
    chosen.why = f"its probe has the least {best.word}: {best.loss:.3f} {on}"
    if chosen is not best:
        chosen.why = (
            f"its probe is within a standard error of the best ({chosen.behind:+.3f} ± "
            f"{chosen.noise:.3f} {best.word} against {best.name} {on}), and it takes "
            f"{1000 * chosen.image_s:.1f} ms an image instead of {1000 * best.image_s:.1f}"
        )
    for racer in left:
        if racer is chosen:
            continue
        racer.standing, racer.why = "worse", _more(racer, best, images)
        if racer in tied:
            racer.standing = "slower"
            racer.why = f"within a standard error of the best {best.word}; {chosen.name} is faster"
            if chosen is best:
                racer.why = f"{_more(racer, best, images)}, and not a tenth faster"
    return chosen, f"Backbone: {chosen.name}, the choice of {len(racers)}: {chosen.why}"


def _more(racer: Racer, best: Racer, images: int) -> str:
    return (
        f"{racer.behind:+.3f} ± {racer.noise:.3f} {best.word} against {best.name} on {images} "
        "images"
    )


def _row(racer: Racer) -> Candidate:
    """What is told of a network that was timed."""
    about = racer.about.backbone
    row = Candidate(
        name=racer.name,
        licence=racer.source.licence,
        permissive=racer.source.permissive,
        standing=racer.standing,
        why=racer.why,
        parameters=about.parameters,
        side_px=about.preprocess.side_px,
        latency_ms=1000 * racer.latency_s,
        image_ms=1000 * racer.image_s,
        images=len(racer.rows),
    )
    if racer.left_out is None:
        return row
    row = replace(row, behind=racer.behind, noise=racer.noise)
    if isinstance(racer.left_out, TargetLeftOut):
        score, labels = racer.left_out.found.score, racer.left_out.aim.kind == "labels"
        return replace(
            row,
            features=score.name,
            metric="map" if labels else "r2",
            score=score.score,
            loss=score.loss,
        )
    return replace(
        row,
        features=racer.left_out.score.name,
        accuracy=racer.left_out.score.accuracy,
        log_loss=racer.left_out.score.log_loss,
    )


def _nothing_left(out: Sequence[Candidate]) -> BackboneError:
    """That nothing can be chosen, and why each is out."""
    why = "; ".join(f"{c.name}: {c.why}" for c in out) or "no weights are on this machine"
    return BackboneError(
        f"no backbone is left to choose: {why}",
        hint="Allow more with --max-latency, --licence any or --budget, get weights by `finetune "
        "backbones fetch NAME`, or name one with --backbone.",
    )

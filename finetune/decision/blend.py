"""A blend: the tuned network and the best probe answer together where held-out images say it pays.

Its weight and temperatures are fitted on scores that are there already: of the trials, the two
folds or the validation images; never on the test (docs/decisions/0015-blend.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.probes import Probes
from finetune.backbones import joined
from finetune.decision import fitted, trials
from finetune.decision.fitted import FittedModel
from finetune.heads import blending, logit_adjustment
from finetune.metrics import paired
from finetune.records.metrics import Baseline
from finetune.records.options import DecisionOptions
from finetune.records.run import BlendPart
from finetune.storage.arrays import Array, Labels
from finetune.training import holdout

# Whether a blend may be what is returned, and whether it has to be.
Blends = Literal["never", "where it pays", "always"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A blend against the better of the two alone, the one with less log loss on the same images.

    `gain` is in accuracy, a fraction of 1, `less` how much less its log loss is, `over_probe` the
    gain over the probe; each with the standard error of the paired difference. What judges the
    blend was not among what its weight was fitted on; `weight`, the tuned model's, is of all.
    """

    weight: float
    better: Literal["tuned", "probe"]
    accuracy: float
    log_loss: float
    gain: float
    gain_error: float
    less: float
    less_error: float
    over_probe: float
    over_probe_error: float

    @property
    def inner(self) -> bool:
        """Whether held-out images give both a weight: else one network is enough."""
        return 0 < self.weight < 1

    @property
    def pays(self) -> bool:
        """Both have a weight, and together they are not a standard error behind the probe.

        To ask for a gain of one standard error as well costs half a point of accuracy on average: a
        few dozen held-out images cannot tell what most test sets show (docs/log.md, 2026-11-26).
        """
        return self.inner and self.over_probe >= -self.over_probe_error

    @property
    def text(self) -> str:
        """The figures in words."""
        alone = "tuned model" if self.better == "tuned" else "probe"
        return (
            f"together they have {100 * self.accuracy:.1f} %, {100 * self.gain:+.1f} ± "
            f"{100 * self.gain_error:.1f} points against the {alone} alone, and a log loss of "
            f"{self.log_loss:.3f}, {-self.less:+.3f} ± {self.less_error:.3f}"
        )


def allowed(asked: DecisionOptions) -> Blends:
    """What the options say: a strategy that was named is taken at its word, the table at its."""
    if asked.strategy == "blend":
        return "always"
    free = asked.strategy == "auto" and asked.policy == "measured" and not asked.single
    return "where it pays" if free else "never"


def verdict(analysis: Analysis, probes: Probes, trial: holdout.Trial, blends: Blends) -> Verdict:
    """What both together do on the images that a trial held out."""
    tuned, probed, labels = _held_out(analysis, probes, trial)
    groups = [analysis.samples[i].unit for i in trial.held]
    moves = _moves(analysis, trial)
    likely = blending.cross_fitted(tuned, probed, labels, groups, _weights(blends), moves)
    _, mine = analysis.calibrated(tuned, trial.held, weighed=trial.weighed)
    _, other = analysis.calibrated(probed, trial.held)
    by = analysis.yardstick(trial.held)
    log = replace(by, metric="log-loss")
    first = paired.value(mine, labels, log) <= paired.value(other, labels, log)
    gain, gain_error, less, less_error = paired.accuracy_gain(
        likely, mine if first else other, labels, by
    )
    over_probe, over_probe_error, _, _ = paired.accuracy_gain(likely, other, labels, by)
    return Verdict(
        weight=blending.fit(tuned, probed, labels, _weights(blends), moves).weight,
        better="tuned" if first else "probe",
        accuracy=paired.value(
            likely, labels, replace(by, metric="accuracy") if by.metric == "log-loss" else by
        ),
        log_loss=paired.value(likely, labels, log),
        gain=gain,
        gain_error=gain_error,
        less=less,
        less_error=less_error,
        over_probe=over_probe,
        over_probe_error=over_probe_error,
    )


def paying(analysis: Analysis, probes: Probes, trial: holdout.Trial) -> Verdict | None:
    """The verdict on a trial, where a blend is allowed and pays there; else None."""
    blends = allowed(analysis.options.decision)
    if blends == "never":
        return None
    found = verdict(analysis, probes, trial, blends)
    return found if found.pays else None


def judge(floor: Baseline, found: Verdict, how: str, blends: Blends) -> Baseline:
    """The baseline once more, with both together as the third that may be kept.

    Args:
        floor: The tuned model against the probe.
        found: Both together.
        how: How the images were held out.
        blends: Whether both have to be kept.
    """
    figures = replace(floor, blend_accuracy=found.accuracy, blend_log_loss=found.log_loss)
    if blends == "always" or found.pays:
        because = "" if found.pays else ", because you asked for it"
        reason = (
            f"Tuned model and probe are kept as a blend{because}: on {how}, {found.text}. {COST}"
        )
        return replace(figures, kept="blend", reason=f"{reason}. Each alone: {_alone(floor)}")
    why = "No blend: held-out images give one of the two all the weight"
    if found.inner:
        why = f"No blend, which is behind the probe: {found.text}"
    return replace(figures, reason=f"{floor.reason}. {why}")


COST = "An answer costs a second pass through the network"


def _alone(floor: Baseline) -> str:
    return (
        f"the tuned model {100 * floor.tuned_accuracy:.1f} % (log loss {floor.tuned_log_loss:.3f}),"
        f" the probe {100 * floor.probe_accuracy:.1f} % ({floor.probe_log_loss:.3f})"
    )


def together(
    analysis: Analysis, probes: Probes, tuned: FittedModel, trial: holdout.Trial, blends: Blends
) -> FittedModel:
    """The tuned model and the best probe as one model.

    Args:
        analysis: The data.
        probes: Of which the best is a part.
        tuned: The other part; what is known of its training goes along.
        trial: Its held-out logits.
        blends: Whether both have to be heard.
    """
    first, second, labels = _held_out(analysis, probes, trial)
    best = probes.best
    moves = _moves(analysis, trial)
    found = blending.fit(first, second, labels, _weights(blends), moves)
    # the probe that answers has learnt from all images: leaving one out says how sure it is
    found = replace(found, temperatures=(found.temperatures[0], best.temperature))
    parts = _parts(analysis, probes, tuned, found)
    body = analysis.body
    halves = joined.halves(parts, (tuned.runtime, body.engine))
    groups = [analysis.samples[i].unit for i in trial.held]
    likely = blending.cross_fitted(first, second, labels, groups, _weights(blends), moves)
    held = fitted.held_out(analysis, likely, trial.held)
    # the tuned model's own shift is taken back: that of the blend takes its place
    own = logit_adjustment.moved(tuned.head, None if tuned.shift is None else -tuned.shift)
    return replace(
        tuned,
        strategy="blend",
        runtime=joined.join(halves),
        graph=lambda: joined.join_graphs((tuned.graph(), body.graph()), halves),
        original=lambda: body.tensors,
        head=blending.joined(own, analysis.head(best), found),
        shift=found.shift,
        taps=tuple(name for half in halves for name in half.names),
        side_px=max(part.side_px for part in parts),
        held=held,
        estimate=fitted.measured(analysis, held),
        near=fitted.probe_near(analysis, best.score.taps, before=tuned.head.weight.shape[1]),
        parts=parts,
    )


def _parts(
    analysis: Analysis, probes: Probes, tuned: FittedModel, found: blending.Blend
) -> tuple[BlendPart, BlendPart]:
    return (
        BlendPart(
            strategy=tuned.strategy,
            weight=found.weight,
            temperature=found.temperatures[0],
            taps=tuned.taps,
            side_px=tuned.side_px,
        ),
        BlendPart(
            strategy=probes.name,
            weight=round(1 - found.weight, 6),
            temperature=found.temperatures[1],
            taps=probes.best.score.taps,
            side_px=analysis.facts.preprocess.side_px,
        ),
    )


def _held_out(
    analysis: Analysis, probes: Probes, trial: holdout.Trial
) -> tuple[Array, Array, Labels]:
    """Logits of the trial's model and of the best probe, and the labels."""
    rival = trials.rival_logits(analysis, probes.best, trial)
    return trial.logits, rival, np.asarray(analysis.labels[trial.held])


def _moves(analysis: Analysis, trial: holdout.Trial) -> blending.Moves | None:
    """What moves both to the wanted shares, and how much held-out images count there."""
    first, second = analysis.shift(weighed=trial.weighed), analysis.shift()
    if analysis.wanted is None or first is None or second is None:
        return None
    counted = analysis.wanted.weights(analysis.labels[trial.held])
    return blending.Moves(first=first, second=second, counted=counted)


def _weights(blends: Blends) -> Sequence[float]:
    """What is tried: where both have to be heard, no weight of nothing."""
    return blending.INNER if blends == "always" else blending.WEIGHTS

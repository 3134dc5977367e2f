"""How near images are to those that a tuned network learnt from, where it has not seen them all."""

from __future__ import annotations

from finetune.analysis.analyze import Analysis
from finetune.backbones.inference import Engine
from finetune.decision.fitted import Near
from finetune.heads import cross_validation, unknown
from finetune.training import holdout, loop

# Of the folds' networks and of the returned one the same picture has other features, so a distance
# in one says nothing in another.
SEEN = (
    "this network was tuned on all images, those that judged it, too, so how far an image that it "
    "has not seen lies is not known. --no-refit with enough validation images keeps some from it"
)
UNASKED = "nobody asked how far images lie from its training"
STOPPED = "its training was stopped, and there was no time for distances"


def of_trial(
    analysis: Analysis,
    images: holdout.Material,
    trial: holdout.Trial,
    outcome: loop.Tuned,
    runtime: Engine,
) -> Near | str:
    """Distances of the validation images from those learnt from, where that network is returned.

    It costs one more pass over the images, without augmentation.

    Args:
        analysis: The data.
        images: At the plan's resolution.
        trial: What was judged.
        outcome: What is returned.
        runtime: Its engine.

    Returns:
        The detector with the distances; or why there is none.
    """
    if outcome.stopped is not None:
        return STOPPED
    if outcome is not trial.tuned:
        return SEEN
    learnt = trial.parts[0][0]
    some = learnt[cross_validation.ranking_sample(analysis.labels[learnt])]
    known, new = (
        holdout.top_features(outcome.backbone, images.device, images.plain[rows], runtime)
        for rows in (some, trial.held)
    )
    detector = unknown.fit(known)
    weights = analysis.wanted
    return Near(
        detector=detector,
        distances=detector.distances(new),
        weights=None if weights is None else weights.weights(analysis.labels[trial.held]),
    )

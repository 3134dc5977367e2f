"""What of networks that were compared stands in a table."""

from __future__ import annotations

from finetune.records.backbone_choice import BackboneChoice, Candidate
from finetune.records.choices import spoken_metric


def heads(choice: BackboneChoice) -> tuple[str, str]:
    """What the two figures of a network are called."""
    metric = next((c.metric for c in choice.candidates if c.metric is not None), None)
    return ("accuracy", "log loss") if metric is None else (spoken_metric(metric), "loss")


def figures(one: Candidate) -> tuple[str, str]:
    """The two figures of a network, `–` where nothing was measured."""
    if one.score is not None and one.loss is not None:
        form = ".4g" if one.metric in ("rmse", "mae") else ".3f"
        return f"{one.score:{form}}", f"{one.loss:.3f}"
    return (
        "–" if one.accuracy is None else f"{one.accuracy:.1%}",
        "–" if one.log_loss is None else f"{one.log_loss:.3f}",
    )


def how(choice: BackboneChoice) -> str:
    """How they were measured."""
    what = " and ".join(heads(choice))
    probe = "linear classifier" if heads(choice)[0] == "accuracy" else "linear probe"
    told = f"{what} of the best {probe}, each image left out once"
    return told if choice.start is None else f"{told}; only images new to the run judge"

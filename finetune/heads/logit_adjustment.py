"""Scores moved to the shares that the classes will have where the model is used.

A model that learnt from images with class shares π gives probabilities p(y | x) ∝ π_y · f_y(x).
Where the shares are ω, those are p(y | x) · ω_y / π_y, scaled to sum to one: log ω_y − log π_y is
added to the logits (Saerens et al. 2002; Menon et al. 2021, "logit adjustment", post hoc). It goes
into the bias of the kept head, so that whatever answers with the model needs to know nothing of it.
Temperatures are fitted, and models compared, on held-out images that count as often as their class
will be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetune.heads.ridge import Head
from finetune.storage.arrays import Array, Labels

# A class without images to learn from counts as if it had half of one.
FEWEST = 0.5


@dataclass(frozen=True)
class Wanted:
    """The classes' shares where the model will be used, float64[C]: positive, of sum one."""

    shares: Array

    def shift(self, labels: Labels, *, weighed: bool = False) -> Array:
        """What is added to calibrated logits, float64[C], its mean zero.

        Args:
            labels: Of the images that the model learnt from, int64[N].
            weighed: Whether these counted by 1/sqrt of their class's count
                (`training.losses.class_weights`): so much of the work is done then.
        """
        counts = np.maximum(np.bincount(labels, minlength=len(self.shares)), FEWEST)
        mass = np.sqrt(counts) if weighed else counts.astype(np.float64)
        found = np.log(self.shares) - np.log(mass)
        out: Array = found - found.mean()
        return out

    def weights(self, labels: Labels) -> Array:
        """By how much images count so that classes have the wanted shares, float64[N], mean one."""
        counts = np.bincount(labels, minlength=len(self.shares))
        each = self.shares[labels] / counts[labels]
        out: Array = each * (len(labels) / each.sum())
        return out


def uniform(classes: int) -> Wanted:
    """Equal shares."""
    return Wanted(np.full(classes, 1 / classes))


def moved(head: Head, shift: Array | None) -> Head:
    """The head with a shift in its bias; its probabilities are those at the wanted shares."""
    if shift is None:
        return head
    return replace(head, bias=head.bias + head.temperature * shift)

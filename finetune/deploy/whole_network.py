"""A run as one torch module, from a picture of any size to probabilities, in plain operators."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from finetune.backbones import load
from finetune.backbones.inference import ROOT, TOP
from finetune.backbones.stages import Backbone
from finetune.heads.ridge import Head
from finetune.records.backbone import Box
from finetune.runs.run_folder import LoadedRun


class WholeNetwork(nn.Module):
    """Pictures uint8[N,H,W,3], RGB as decoded and turned → probabilities float32[N,C].

    The square box, resizing as Pillow has it, normalising, network, head and temperature are
    inside. Pictures of one call have one size; those of the network's own side pass as they are.
    """

    def __init__(
        self, backbone: Backbone, head: Head, taps: Sequence[str], side_px: int, box: Box
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(taps)
        self.square = Square(side_px, box)
        # the temperature is part of the classifier, so that no division is left
        self.weight = nn.Parameter(torch.from_numpy(head.weight / head.temperature).float(), False)
        self.bias = nn.Parameter(torch.from_numpy(head.bias / head.temperature).float(), False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities of pictures."""
        return torch.softmax(self.logits(self.square(image)), dim=1)

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits float32[N,C], divided by the temperature, of float32[N,3,S,S] in 0 to 255."""
        features = self.features(self.backbone.normalise(pixels))
        return nn.functional.linear(features, self.weight, self.bias)

    def features(self, x: Tensor) -> Tensor:
        """What the head reads, float32[N,D], of normalised pictures."""
        if self.taps == (TOP,):
            return self.backbone(x)  # type: ignore[no-any-return]
        if self.taps == (ROOT,):
            top: Tensor = self.backbone(x)
            return top.clamp(min=0).sqrt()
        found = self.backbone.forward_stages(x)
        return torch.cat([found[tap] for tap in self.taps], dim=1)


class Square(nn.Module):
    """Pictures uint8[N,H,W,3] → float32[N,3,S,S] in 0 to 255, whole numbers.

    Each side is one product with a matrix of bicubic weights, rows first, rounded after each:
    what Pillow computes (libImaging/Resample.c), and the same in every runtime. The antialiased
    Resize of ONNX is not: it leaves out what lies outside the box, and is off by up to 42 of 255.
    """

    def __init__(self, side_px: int, box: Box) -> None:
        super().__init__()
        self.side_px, self.box = side_px, box
        self.fill: Tensor
        fill = torch.tensor(box.fill, dtype=torch.float32).view(1, 3, 1, 1)
        self.register_buffer("fill", fill, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The square."""
        height, width = image.shape[1], image.shape[2]
        tall = torch.scalar_tensor(height, dtype=torch.float32)
        wide = torch.scalar_tensor(width, dtype=torch.float32)
        x_at, x_inside = self._axis(wide, tall)
        y_at, y_inside = self._axis(tall, wide)
        x = image.permute(0, 3, 1, 2).float()
        x = _rounded(torch.matmul(x, _weights(width, *x_at).t()))
        x = _rounded(torch.matmul(_weights(height, *y_at), x))
        if self.box.fit != "letterbox":
            return x
        inside = (y_inside[:, None] & x_inside[None, :])[None, None]
        return torch.where(inside, x, self.fill)

    def _axis(self, length: Tensor, other: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Centres of the S pixels on one side of the picture, the step, and which lie inside."""
        number = torch.arange(self.side_px, dtype=torch.float32)
        if self.box.fit == "half":
            kept = torch.minimum(length, torch.sqrt(length * other))
            step, start = kept / self.side_px, (length - kept) / 2
            return (start + (number + 0.5) * step, step), number >= 0
        if self.box.fit == "squash":
            resized = torch.full_like(length, self.side_px)
            offset = torch.zeros_like(length)
        elif self.box.fit == "center":
            # not the ratio times the side: 0.7 * 10 is less than 7
            resized = torch.floor(self.side_px * length / torch.minimum(length, other))
            offset = torch.round((resized - self.side_px) / 2)
        else:
            long = torch.maximum(length, other)
            resized = torch.round(self.side_px * length / long).clamp(min=1.0)
            offset = -torch.floor((self.side_px - resized) / 2)
        step = length / resized
        number = number + offset
        inside = (number >= 0) & (number < resized)
        return ((number + 0.5) * step, step), inside


def _weights(length: int, at: Tensor, step: Tensor) -> Tensor:
    """Bicubic weights float32[S,length] for pixels centred at `at` float32[S]; each row sums to 1.

    Keys' kernel with a = -0.5, as wide as the step where the picture is made smaller.
    """
    reach = torch.clamp(step, min=1.0)
    x = ((torch.arange(length, dtype=torch.float32) + 0.5)[None, :] - at[:, None]) / reach
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-6)


def _rounded(x: Tensor) -> Tensor:
    """To whole numbers from 0 to 255, halves up, as 8 bits hold them."""
    return torch.floor(x + 0.5).clamp(0.0, 255.0)


def of_run(run: LoadedRun) -> WholeNetwork:
    """The whole network of a run.

    Raises:
        BackboneError: the tensors are not the backbone's.
    """
    facts = run.facts
    tensors = {name: torch.from_numpy(t) for name, t in run.backbone.items()}
    head = Head(run.weight.astype(np.float64), run.bias.astype(np.float64), facts.head.temperature)
    about = facts.preprocess
    backbone = load.rebuild(facts.backbone, tensors)
    return WholeNetwork(backbone, head, facts.head.taps, about.side_px, about.box).eval()


def program(network: WholeNetwork) -> torch.export.ExportedProgram:
    """The network as `torch.export` has it: any number of pictures of any one size.

    Raises:
        Exception: torch cannot express it; it raises all sorts of things.
    """
    some, fixed = torch.export.Dim.DYNAMIC, torch.export.Dim.STATIC
    example = torch.zeros(2, 301, 203, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what torch itself does in an old way
        return torch.export.export(
            network, (example,), dynamic_shapes=({0: some, 1: some, 2: some, 3: fixed},)
        )

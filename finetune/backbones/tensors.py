"""Whether tensors are those of a network, by name and shape."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from finetune.records.errors import BackboneError
from finetune.records.file_names import MODEL

RUN_FILE = f"the run's {MODEL}"


def check_match(expected: dict[str, Tensor], tensors: dict[str, Tensor], source: str) -> None:
    """Refuse tensors whose names or shapes are not those expected.

    Raises:
        BackboneError: says which differ, and of what `source`.
    """
    missing = [n for n in expected if n not in tensors]
    extra = [n for n in tensors if n not in expected]
    wrong = [n for n in expected if n in tensors and _form(tensors[n]) != _form(expected[n])]
    if missing or extra or wrong:
        parts = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (
                ("missing", missing),
                ("unknown", extra),
                ("of other shape or kind", wrong),
            )
            if names
        ]
        raise BackboneError(
            f"{source} does not fit the backbone: tensors {', '.join(parts)}",
            hint="Give the name the checkpoint was made with: --backbone NAME.",
        )


def _form(tensor: Tensor) -> tuple[Any, ...]:
    """What must agree before a tensor is put into another's place: rounding is no harm."""
    return tensor.shape, tensor.layout, tensor.is_complex()


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    """Where the ImageNet classifiers stand, e.g. `fc`; distilled networks have two."""
    get = getattr(net, "get_classifier", None)
    found = get() if get is not None else ()
    targets = found if isinstance(found, tuple) else (found,)
    return tuple(n for n, m in net.named_modules() if any(m is t for t in targets))


def without_classifier(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network less those of its ImageNet classifier."""
    prefixes = tuple(f"{name}." for name in _classifiers(net))
    return {n: t for n, t in tensors.items() if not n.startswith(prefixes)}

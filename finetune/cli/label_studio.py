"""Images with a proposed label as tasks of Label Studio, to be looked at by a person.

Its format: https://labelstud.io/guide/predictions. Pictures are named as its local storage has
them, below the folder that LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT names: that of the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from finetune.cli import csv_files
from finetune.records.labels import Suggestions, SuspectLabel

# Names of the labelling interface: <Image name="image"/>, <Choices name="label" toName="image"/>.
CHOICES, IMAGE = "label", "image"


def write_suspects(path: Path, suspects: Iterable[SuspectLabel]) -> None:
    """`--label-studio` of `check`: one task per suspect, the suggestion as its prediction.

    Raises:
        UsageError: it cannot be written.
    """
    tasks = [
        _task(s.path, s.suggested, s.suggested_probability, "finetune check", {"given": s.given})
        for s in suspects
    ]
    csv_files.put("--label-studio", path, _text(tasks))


def write_suggestions(path: Path, found: Suggestions) -> None:
    """`--label-studio` of `suggest`: one task per image, the run's answer as its prediction.

    Raises:
        UsageError: it cannot be written.
    """
    tasks = [_task(s.path, s.label, s.probability, found.run, {}) for s in found.suggestions]
    csv_files.put("--label-studio", path, _text(tasks))


def _task(
    path: str, label: str, score: float, version: str, more: Mapping[str, object]
) -> dict[str, Any]:
    """One picture: its path below the folder, and the label that is proposed."""
    choice = {
        "from_name": CHOICES,
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": [label]},
    }
    return {
        "data": {IMAGE: f"/data/local-files/?d={quote(path)}", "path": path, **more},
        "predictions": [{"model_version": version, "score": score, "result": [choice]}],
    }


def _text(tasks: list[dict[str, Any]]) -> bytes:
    return (json.dumps(tasks, ensure_ascii=False, indent=1) + "\n").encode()

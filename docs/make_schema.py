"""Writes `schema/` beside this file: what each command answers to `--json`, as JSON Schema.

Run `python docs/make_schema.py` after a change of a record; a test compares pages and records.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from finetune.records.answers import (
    Advice,
    CacheUsage,
    Comparison,
    Evaluation,
    Exported,
    Health,
    Prediction,
    Reported,
)
from finetune.records.backbone import BackboneRow
from finetune.records.explanation import Explanation
from finetune.records.labels import Suggestions
from finetune.records.run import RunResult, RunRow
from finetune.records.sharding import FeaturesMade
from finetune.records.target_result import TargetEvaluation

FOLDER = Path(__file__).with_name("schema")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What stands on stdout; `predict` and `explain` write one such value a line.
ANSWERS: dict[str, Any] = {
    "train": RunResult,
    "recommend": Advice,
    "compare": Comparison,
    "check": Health,
    "predict": Prediction,
    "evaluate": Evaluation,
    "evaluate-target": TargetEvaluation,
    "suggest": Suggestions,
    "explain": Explanation,
    "export": Exported,
    "report": Reported,
    "runs": list[RunRow],
    "backbones": list[BackboneRow],
    "cache": CacheUsage,
    "features": FeaturesMade,
}


def schema(command: str) -> str:
    """The schema of one command's answer, as text."""
    made = msgspec.json.schema(ANSWERS[command])
    if command == "recommend":  # the recommendation's fields stand among the others
        parts = made["$defs"]
        advice, inner = parts.pop("Advice"), parts.pop("Recommendation")
        advice["properties"].pop("recommendation")
        advice["properties"] = inner["properties"] | advice["properties"]
        advice["required"] = sorted({*inner["required"], *advice["required"]} - {"recommendation"})
        made = advice | {"$defs": parts}
    if command == "predict":  # where there is an error, there is nothing else
        fields = made["$defs"]["Prediction"]["properties"]
        for field in fields.values():
            field.pop("default", None)
    named = {"$schema": DIALECT, "title": f"finetune {command} --json"}
    tidy = json.dumps({**made, **named}, indent=1, ensure_ascii=False, default=list)
    return inspect.cleandoc(tidy) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in ANSWERS:
        (FOLDER / f"{name}.json").write_text(schema(name), encoding="utf-8")

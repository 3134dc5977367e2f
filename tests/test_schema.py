"""Promises of the schemas: they are those of the answers that commands give."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from examples import EXAMPLES

from finetune.records.codec import to_builtins

DOCS = Path(__file__).parents[1] / "docs"
MADE = runpy.run_path(str(DOCS / "make_schema.py"))


def fits(value: Any, schema: dict[str, Any], parts: dict[str, Any]) -> bool:  # noqa: PLR0911
    """Whether a value is as a schema says: references, kinds, fields, items, choices."""
    if "$ref" in schema:
        return fits(value, parts[schema["$ref"].rpartition("/")[2]], parts)
    if "anyOf" in schema:
        return any(fits(value, one, parts) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list | tuple,
        "string": str,
        "integer": int,
        "number": int | float,
        "boolean": bool,
        "null": None.__class__,
    }
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return False
    if isinstance(value, dict):
        known = schema.get("properties")
        if known is None:
            rest = schema.get("additionalProperties", {})
            return all(fits(v, rest, parts) for v in value.values())
        return set(schema.get("required", ())) <= set(value) <= set(known) and all(
            fits(v, known[k], parts) for k, v in value.items()
        )
    if isinstance(value, list | tuple):
        items = schema.get("items")
        return not isinstance(items, dict) or all(fits(v, items, parts) for v in value)
    return True


@pytest.mark.parametrize("command", MADE["ANSWERS"])
def test_the_schema_is_that_of_the_record(command: str) -> None:
    """Run `python docs/make_schema.py` where this fails."""
    assert (DOCS / "schema" / f"{command}.json").read_text("utf-8") == MADE["schema"](command)


@pytest.mark.parametrize("command", MADE["ANSWERS"])
def test_answers_are_as_their_schema_says(command: str) -> None:
    """An example of the answer fits its schema; with a field of another kind it does not."""
    kind = MADE["ANSWERS"][command]
    several = getattr(kind, "__origin__", None) is list
    record = next(e for e in EXAMPLES if type(e) is (kind.__args__[0] if several else kind))
    flat = to_builtins(record)
    if command == "recommend":
        flat = flat.pop("recommendation") | flat
    told = json.loads(json.dumps(flat))
    schema = json.loads(MADE["schema"](command))
    answer = [told] if several else told

    assert schema["title"] == f"finetune {command} --json"
    assert fits(answer, schema, schema.get("$defs", {}))
    wrong = {**told, next(iter(told)): ["wrong", 1]}
    assert not fits([wrong] if several else wrong, schema, schema.get("$defs", {}))

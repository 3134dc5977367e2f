"""Names of the files of a run's folder and of an unfinished training's; written here alone."""

from __future__ import annotations

FACTS = "run.json"
RESULT = "result.json"
SPLITS = "splits.json"
HISTORY = "history.jsonl"
REPORT = "report.html"
MATERIAL = "report.json"  # what the report shows beside the others
MODEL = "model.safetensors"
# The whole network of a run as OpenVINO reads it: topology and constants.
NETWORK = ("inference.xml", "inference.bin")
OF_A_RUN = frozenset({FACTS, RESULT, SPLITS, HISTORY, REPORT, MATERIAL, MODEL, *NETWORK})
BEGUN = "begun.json"

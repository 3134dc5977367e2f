from __future__ import annotations

import json
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import msgspec
import pytest
from examples import (
    COMPARISON,
    EXAMPLES,
    FACTS,
    FINDING,
    FORECASTS,
    HISTORY,
    LEAD,
    METRICS,
    PARTS,
    PLAN,
    PREPROCESS,
    PROFILE,
    RECOMMENDATION,
    SAMPLE,
    SPLITS,
    TRIAL,
)
from hypothesis import given
from hypothesis import strategies as st

from finetune.records import (
    analysis,
    anatomy,
    answers,
    backbone,
    backbone_choice,
    dataset,
    decision,
    explanation,
    labels,
    material,
    metrics,
    options,
    robustness,
    run,
    sharding,
    start,
    target,
    target_result,
    training,
    unsure,
)
from finetune.records.answers import ClassProbability
from finetune.records.codec import from_json, to_builtins, to_json
from finetune.records.dataset import Finding, FindingKind, Sample

TOPICS = (
    *(analysis, anatomy, answers, backbone, backbone_choice, dataset, decision),
    *(explanation, labels, material, metrics, options, robustness, run, sharding, start, target),
    *(target_result, training, unsure),
)
KINDS = [
    kind
    for module in TOPICS
    for kind in vars(module).values()
    if isinstance(kind, type)
    and is_dataclass(kind)
    and kind.__module__ == module.__name__
    and kind is not FindingKind
]


def name_of(record: object) -> str:
    """The test's label."""
    return type(record).__name__


def test_every_record_has_an_example() -> None:
    """The examples below are one of each record of the module, so that none goes untested."""
    assert sorted(k.__name__ for k in KINDS) == sorted(name_of(e) for e in EXAMPLES)


@pytest.mark.parametrize("record", EXAMPLES, ids=name_of)
def test_a_record_survives_json(record: object) -> None:
    """Written as JSON and read back a record equals itself, nested ones and tuples included."""
    text = to_json(record)

    assert from_json(text, type(record)) == record
    assert from_json(text.encode(), type(record)) == record
    assert "\n" not in text


@pytest.mark.parametrize("record", EXAMPLES, ids=name_of)
def test_json_holds_every_field_under_its_name(record: object) -> None:
    """Other programs find each field under the name it has here, whoever writes the JSON."""
    plain = json.loads(to_json(record))

    assert list(plain) == [f.name for f in fields(record)]  # type: ignore[arg-type]
    assert plain == json.loads(json.dumps(to_builtins(record)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_records_are_frozen(kind: Any) -> None:
    """No record can be changed after it was made."""
    record = next(e for e in EXAMPLES if type(e) is kind)
    name = fields(record)[0].name

    with pytest.raises(FrozenInstanceError):
        setattr(record, name, None)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"code": }', "not json"])
def test_text_that_is_no_such_json_is_refused(text: str) -> None:
    """Malformed JSON, and JSON of another shape, raise msgspec's error."""
    with pytest.raises(msgspec.MsgspecError):
        from_json(text, Finding)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (type(example), f.name)
        for example in (
            *(SAMPLE, PLAN, METRICS, FACTS.head, HISTORY[0], TRIAL, LEAD, FORECASTS[0]),
            *(PARTS[0], PROFILE.size, PROFILE.similarity, RECOMMENDATION, COMPARISON),
        )
        for f in fields(example)
        if f.default is MISSING
    ],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_a_missing_key_is_refused_and_named(kind: Any, name: str) -> None:
    """Where a key without a default is missing, the error names it."""
    plain = to_builtins(next(e for e in EXAMPLES if type(e) is kind))
    del plain[name]

    with pytest.raises(msgspec.ValidationError, match=f"`{name}`"):
        from_json(json.dumps(plain), kind)


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (SAMPLE, {"label": "0"}),
        (SAMPLE, {"path": 3}),
        (SAMPLE, {"label": 1.5}),
        (PLAN, {"epochs": None}),
        (PLAN, {"strategy": "magic"}),
        (PLAN, {"class_weights": 1}),
        (PLAN, {"augment": {}}),
        (PREPROCESS, {"mean": [0.5, 0.5]}),
        (FINDING, {"severity": "fatal"}),
        (METRICS, {"confusion": [[1, "2"]]}),
        (HISTORY[0], {"train_loss": None}),
        (PROFILE.size, {"verdict": "uncertain"}),
        (PROFILE.size, {"limit": "time"}),
        (PROFILE.size, {"curve": [[200, 0.3]]}),
        (PROFILE.similarity, {"column": "uncertain"}),
        (PROFILE.similarity, {"verdict": "near"}),
        (PARTS[0], {"verdict": None}),
        (RECOMMENDATION, {"policy": "coin"}),
        (RECOMMENDATION, {"trials": [{}]}),
        (TRIAL, {"gain": None}),
        (COMPARISON, {"best": "auto"}),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_type_is_refused(record: object, changes: dict[str, Any]) -> None:
    """Decoding is strict: no number from a string, no unknown word, no missing part of a tuple."""
    plain = to_builtins(record) | changes

    with pytest.raises(msgspec.ValidationError) as caught:
        from_json(json.dumps(plain), type(record))

    assert next(iter(changes)) in str(caught.value)


@given(path=st.text(), label=st.integers(0, 2**53), digest=st.text())
def test_any_text_survives(path: str, label: int, digest: str) -> None:
    """Names in any script, with quotes and control characters, come back as they were."""
    sample = Sample(path, label, digest)

    assert from_json(to_json(sample), Sample) == sample
    assert from_json(json.dumps(to_builtins(sample), ensure_ascii=False), Sample) == sample


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_survives_to_the_last_bit(value: float) -> None:
    """A float read back is the same float."""
    row = ClassProbability("a", value)

    assert from_json(to_json(row), ClassProbability).probability == value


def test_probes_are_fitted_on_train_and_validation() -> None:
    """`fitting` is every image that is not test."""
    assert [s.path for s in SPLITS.fitting] == ["ash/1.png", "ash/2.png"]


def test_a_table_has_no_uncertain_column() -> None:
    """A verdict on similarity may be uncertain, its column of the table is read back as one."""
    found = from_json(to_json(PROFILE.similarity), type(PROFILE.similarity))

    assert (found.verdict, found.column) == ("uncertain", "similar")


def test_a_part_that_was_not_measured_stays_so() -> None:
    """No value and no thresholds come back as None, not as zero."""
    part = replace(PARTS[0], value=None, similar=None, different=None)

    assert from_json(to_json(part), type(part)) == part
    assert json.loads(to_json(part))["value"] is None


def test_a_recommendation_may_do_without_evidence() -> None:
    """What the table alone says has no lead, no trials and no forecasts, and reads back so."""
    plain = to_builtins(RECOMMENDATION)
    for name in ("lead", "trials", "forecasts"):
        del plain[name]

    found = from_json(json.dumps(plain), type(RECOMMENDATION))

    assert (found.lead, found.trials, found.forecasts) == (None, (), ())


def test_a_request_leaves_the_choice_to_measurement() -> None:
    """Without a word from the user the policy is `measured` and no budget is named."""
    asked = options.Request(root="/data/trees")

    assert (asked.strategy, asked.policy, asked.budget_s) == ("auto", "measured", None)

"""A time is read as people write it, or refused; and written as they read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.records import durations
from finetune.records.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("0.5h", 1800), ("1.5", 1.5)),
        *(("1h30", 5400), ("1h30m", 5400), ("1H30", 5400), (" 1h5 ", 3900), ("2h00", 7200)),
        *(("1m30", 90), ("1m30s", 90), ("1h30s", 3630), ("1h90m", 9000), ("1h2m3s", 3723)),
        *(("1:30:00", 5400), ("0:00:20", 20)),
        *(("40min", 2400), ("10 minutes", 600), ("2 h 30 min", 9000), ("1 hour", 3600)),
        *(("95 s", 95), ("2hrs", 7200), ("30 sec", 30), ("1 hr 5 mins", 3900)),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, seconds: float) -> None:
    """A last number without a unit is of the next smaller unit: 1h30 is ninety minutes."""
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "0", "0h0", "-5m", "h", "1h90", "1m75", "1.5h30", "1h2m3", "30m1h"),
        *("1e3", "inf", "nan", "1:70:00", "1::00", "10 mints", "1d", "٣m"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """The fault shows what was given and times to give instead."""
    with pytest.raises(UsageError, match="--budget is") as caught:
        durations.seconds(text)

    assert text in str(caught.value)
    assert "1h30" in caught.value.hint


@given(st.integers(1, 500_000))
def test_a_time_in_a_sentence_can_be_given_back(seconds: int) -> None:
    """What the forecast says is read as a budget, as near as the sentence told it."""
    assert durations.seconds(durations.in_words(seconds)) == pytest.approx(seconds, abs=30)


def test_a_time_with_two_meanings_is_refused() -> None:
    """1:30 may be hours or minutes: both ways to write it are shown."""
    with pytest.raises(UsageError, match="may be hours or minutes") as caught:
        durations.seconds("1:30")

    assert caught.value.hint == "Give 1h30 or 1m30."


@pytest.mark.parametrize(
    ("seconds", "option", "words"),
    [
        *(
            (0.2, "1s", "0.2 s"),
            (0.081, "1s", "0.1 s"),
            (4.96, "5s", "5 s"),
            (20, "20s", "20 s"),
            (90.4, "91s", "90 s"),
            (119, "119s", "119 s"),
        ),
        *((120, "2m", "2 min"), (1031, "18m", "17 min"), (7100, "1h59m", "118 min")),
        *((7200, "2h", "2 h 0 min"), (9001, "2h31m", "2 h 30 min")),
    ],
)
def test_a_time_is_written_as_people_read_it(seconds: float, option: str, words: str) -> None:
    """As an option it is rounded up, so that it is enough; in a sentence to the nearest."""
    assert durations.as_option(seconds) == option
    assert durations.in_words(seconds) == words


@given(st.floats(0.01, 1e7))
def test_a_time_as_an_option_is_read_back(seconds: float) -> None:
    """What a message says to give is taken, and is at least what is needed, by a minute at most."""
    assert seconds <= durations.seconds(durations.as_option(seconds)) < seconds + 60


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("0.5s", 0.5), ("1.5 MS", 0.0015), ("2s", 2.0)]
)
def test_a_latency_has_its_unit(text: str, seconds: float) -> None:
    """`--max-latency` is read in milliseconds or seconds, as they are written."""
    assert durations.latency(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["20", "0ms", "", "ms", "20m", "-1ms", "1e3ms"])
def test_a_latency_without_its_unit_is_refused(text: str) -> None:
    """20 may be seconds or milliseconds: a limit of twenty seconds would be none."""
    with pytest.raises(UsageError, match="--max-latency"):
        durations.latency(text)

"""Promises of the server: it answers as predict does, refuses what it should, and survives it."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from helpers import Recorder, small_run
from PIL import Image
from served import LEAVES, fields, served
from small import only

import finetune
from finetune.deploy.serving import Limits
from finetune.records.errors import ServeError, UsageError
from finetune.records.run import RunResult
from finetune.records.unsure import DoubtOptions
from finetune.workflows import serve as workflow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an inference file."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[httpx.Client]:
    """A client of a server that all tests share."""
    with served(run) as (found, _):
        yield found


def test_answers_are_those_of_predict_in_order(client: httpx.Client, run: Path) -> None:
    """One file or many: label, probability and the likeliest classes of each, as predict says."""
    expected = finetune.load(run).predict(LEAVES, top=5)

    response = client.post("/predict", files=fields(*LEAVES))
    (alone,) = client.post("/predict", files=fields(LEAVES[3])).json()["predictions"]

    assert response.status_code == 200
    answers = response.json()["predictions"]
    assert [a["label"] for a in answers] == [p.label for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probability"] == pytest.approx(prediction.probability, abs=1e-6)
        assert answer["top"][0] == {k: answer[k] for k in ("label", "probability")}
        assert [c["label"] for c in answer["top"]] == [c.label for c in prediction.top]
    assert alone == answers[3]


def test_it_says_that_it_is_ready_and_what_it_has_done(run: Path) -> None:
    """`/health` is 200; `/metrics` counts requests, pictures and seconds in Prometheus' form."""
    with served(run) as (client, _):
        client.post("/predict", files=fields(*LEAVES[:3]))
        health, metrics = client.get("/health"), client.get("/metrics").text

    assert (health.status_code, health.json()["status"]) == (200, "ready")
    assert 'finetune_requests_total{path="/predict",code="200"} 1\n' in metrics
    assert "finetune_images_total 3\n" in metrics
    assert 'finetune_request_seconds_bucket{le="+Inf"} 2\n' in metrics
    for line in metrics.splitlines():
        assert re.fullmatch(r'# TYPE \w+ \w+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [0-9.e+]+', line)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_no_network(client: httpx.Client, path: str) -> None:
    """Nothing is fetched from elsewhere, and the browser is told to allow none of it."""
    response = client.get(path)

    assert response.status_code == 200
    assert not re.findall(r"(?:src|href)=[\"']?https?:|//cdn", response.text)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert client.get("/openapi.json").json()["paths"].keys() >= {"/predict", "/health"}


def test_bad_input_is_refused_with_our_words(client: httpx.Client) -> None:
    """No field, text, no picture, a damaged one, another method: 4xx, and what to do."""
    damaged = LEAVES[0].read_bytes()[:400]
    bad = {
        "none": client.post("/predict"),
        "other": client.post("/predict", files=[("file", ("a.jpg", b"x"))]),
        "text": client.post("/predict", data={"image": "a.jpg"}),
        "body": client.post("/predict", content=b"x" * 100),
        "no picture": client.post("/predict", files=[("image", ("a.jpg", b"no picture"))]),
        "empty": client.post("/predict", files=[("image", ("a.jpg", b""))]),
        "damaged": client.post("/predict", files=[("image", ("a\x1b[2J.jpg", damaged))]),
    }

    for name, response in bad.items():
        assert response.status_code == 400, name
        assert response.json()["error"], name
        assert response.json()["hint"], name
        assert response.json()["error"].isprintable()
    assert "it is a text, not a picture" in bad["no picture"].json()["error"]
    assert "no field named image" in bad["none"].json()["error"]
    assert client.get("/predict").status_code == 405
    assert client.get("/nothing").status_code == 404
    assert client.post("/predict", files=fields(LEAVES[0])).status_code == 200


def test_limits_hold(run: Path) -> None:
    """Too many bytes of a file or a request, told or not, too many files, too long: 4xx or 503."""
    limits = Limits(file_bytes=3_000, body_bytes=20_000, files=3)
    with served(run, limits) as (client, _):
        small = ("image", ("a.png", b"\x89PNG"))
        large = client.post("/predict", files=[("image", ("a.jpg", b"x" * 5_000))])
        whole = client.post("/predict", files=[("image", ("a.jpg", b"x" * 50_000))])
        untold = client.post(
            "/predict",
            content=iter([b"--x\r\n" + b"y" * 30_000] * 3),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        many = client.post("/predict", files=[small] * 4)
    with served(run, Limits(seconds=1e-9)) as (client, _):
        late = client.post("/predict", files=fields(LEAVES[0]))

    assert (large.status_code, whole.status_code) == (413, 413)
    assert untold.status_code in (400, 413)
    assert many.status_code == 400
    assert "more than 3 files" in many.json()["error"]
    assert (late.status_code, "no answer within" in late.json()["error"]) == (503, True)


def test_heat_maps_are_there_when_asked_for(
    client: httpx.Client, leaves_run: tuple[RunResult, Path]
) -> None:
    """A PNG for each picture beside the same answer, or why not where torch would be needed."""
    _, run = leaves_run
    with served(run) as (other, _):
        plain = other.post("/predict", files=fields(*LEAVES[:2])).json()["predictions"]
        told = other.post("/predict?heat=true", files=fields(*LEAVES[:2])).json()["predictions"]
        bad = other.post("/predict?heat=maybe", files=fields(LEAVES[0]))
    missing = client.post("/predict?heat=true", files=fields(LEAVES[0]))

    for answer, one in zip(plain, told, strict=True):
        heat = one.pop("heat")
        assert one == answer
        content = base64.b64decode(heat["image"].removeprefix("data:image/png;base64,"))
        assert max(Image.open(io.BytesIO(content)).size) == 320
        assert (heat["method"], len(heat["map"])) == ("cam", 7)
        assert heat["box"]["share"] > heat["box"]["area"]
    assert "heat" not in plain[0]
    assert bad.status_code == 400
    assert missing.status_code == 200
    assert "without torch" in missing.json()["predictions"][0]["heat"]["error"]


def test_requests_at_once_share_batches(run: Path) -> None:
    """Many clients at once are all answered, alike, by fewer passes than pictures."""
    with served(run) as (client, server):
        with ThreadPoolExecutor(16) as pool:
            found = list(
                pool.map(lambda p: client.post("/predict", files=fields(p)).json(), LEAVES * 8)
            )
        batches = server.metrics.batches

    assert found == found[: len(LEAVES)] * 8
    assert batches < len(LEAVES) * 8


def test_a_token_is_asked_for(run: Path) -> None:
    """Without it, or with another, nothing is answered but that the server is ready."""
    with served(run, token="geheim") as (client, _):
        codes = [
            client.post("/predict", files=fields(LEAVES[0]), headers=headers).status_code
            for headers in (
                {},
                {"Authorization": "Bearer other"},
                {"Authorization": "Bearer geheim"},
            )
        ]
        others = [client.get(path).status_code for path in ("/health", "/metrics")]

    assert codes == [401, 401, 200]
    assert others == [200, 401]


def test_pages_of_other_names_cannot_ask(client: httpx.Client) -> None:
    """A name that leads to this machine by a trick (DNS rebinding) is refused."""
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/health", headers={"Host": "localhost:1"}).status_code == 200


def test_other_machines_need_a_token(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is not this machine's own is refused without one; a taken port is told."""
    monkeypatch.delenv(workflow.TOKEN, raising=False)
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0"):
        workflow.run_serve(run, "0.0.0.0", 0, None, Recorder())
    with contextlib.closing(workflow._bound("127.0.0.1", 0)) as place:
        place.listen()
        with pytest.raises(ServeError, match="cannot listen"):
            workflow.run_serve(run, "127.0.0.1", place.getsockname()[1], None, Recorder())
    monkeypatch.setattr(workflow, "NEEDS", ("no_such_package",))
    with pytest.raises(ServeError, match="no_such_package"):
        workflow.run_serve(run, "127.0.0.1", 0, None, Recorder())


def test_the_command_serves_without_torch_until_it_is_stopped(run: Path) -> None:
    """`finetune serve` answers where nothing but `needs` is installed, and ends on Ctrl-C."""
    script = (
        f"{only('serve')}"
        "from finetune.cli.process import run\n"
        f"sys.exit(run(['serve', {str(run)!r}, '--port', '0']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = ""
        while "http://" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        address = re.findall(r"http://[^;\s]+", told)[0]
        response = httpx.post(f"{address}/predict", files=fields(LEAVES[0]), trust_env=False)
        process.send_signal(signal.SIGINT)
        code = process.wait(30)

    assert response.status_code == 200
    assert response.json()["predictions"][0]["label"] in ("ash", "bäy & co")
    assert code == 130


def test_answers_say_where_they_are_unsure(run: Path) -> None:
    """With a threshold that nothing reaches each answer is unsure, with a set, its label kept."""
    asked = DoubtOptions(min_confidence=1.0, coverage=0.9)
    expected = finetune.load(run, min_confidence=1.0, coverage=0.9).predict(LEAVES[:2])

    with served(run, doubts=asked) as (client, _):
        answers = client.post("/predict", files=fields(*LEAVES[:2])).json()["predictions"]

    assert [a["standing"] for a in answers] == ["unsure", "unsure"]
    assert [a["label"] for a in answers] == [p.label for p in expected]
    assert [tuple(a["set"]) for a in answers] == [p.set for p in expected]
    assert [a["known"] for a in answers] == [p.known for p in expected]
    assert set(answers[0]) == {"label", "probability", "top", "standing", "known", "set"}


def test_an_address_that_is_told_takes_connections() -> None:
    """Who asks before the server's loop has begun waits for it, and is not refused."""
    with (
        contextlib.closing(workflow._bound("127.0.0.1", 0)) as place,
        socket.create_connection(place.getsockname(), timeout=5) as link,
    ):
        assert link.getpeername() == place.getsockname()

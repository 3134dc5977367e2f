"""A place is held by one process alone, also where Python has no fcntl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finetune.storage import atomic_files, locks

# What Windows lacks of what Python has elsewhere; torch and others are loaded without it, too.
HIDE = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "getuid", "geteuid", "getgid", "sysconf", "posix_fallocate", "pread",
             "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "sched_getaffinity", "mkfifo"):
    delattr(os, name)
del signal.SIGHUP, signal.SIGALRM
import finetune
from finetune.cli.process import run
"""


@pytest.fixture(params=["system", "sqlite"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The lock of the system, and the other."""
    if request.param == "sqlite":
        monkeypatch.setattr(locks, "fcntl", None)
    return str(request.param)


@pytest.mark.usefixtures("without")
def test_a_place_is_held_by_one_alone(tmp_path: Path) -> None:
    """Whoever comes second is refused; nothing but an empty file lies there; then it is free."""
    with atomic_files.held(tmp_path / "x"):
        with pytest.raises(BlockingIOError), atomic_files.held(tmp_path / "x"):
            pass
        assert [(p.name, p.stat().st_size) for p in (tmp_path / "x").iterdir()] == [("lock", 0)]
    with atomic_files.held(tmp_path / "x"):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path, without: str) -> None:
    """Another process is refused while one holds it, and is not once that was killed."""
    hide = HIDE if without == "sqlite" else ""
    script = f"{hide}\nfrom finetune.storage import locks\nimport sys, pathlib\n"
    script += "r = locks.take(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            locks.take(tmp_path / "lock")
        other.kill()
    locks.take(tmp_path / "lock")()


@pytest.mark.slow
def test_it_trains_and_predicts_without_what_windows_lacks(image_folder, tmp_path: Path) -> None:
    """A process without fcntl, resource, fork, user ids and SIGHUP trains, and another predicts."""
    root, out = image_folder({"a": 8, "b": 8}), tmp_path / "run"
    tiny = ["--strategy", "partial", "--epochs", "1", "--image-size", "64"]
    tiny += ["--backbone", "test_resnet", "--weights", "random"]
    commands = [
        ["train", str(root), *tiny, "--out", str(out)],
        ["predict", str(root / "a" / "0000.png"), "--run", str(out)],
    ]

    for words in commands:
        done = subprocess.run(
            [sys.executable, "-c", f"{HIDE}\nsys.exit(run({words!r}))"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    assert "0000.png" in done.stdout
    assert [p.name for p in tmp_path.iterdir() if p != root] == ["run"]

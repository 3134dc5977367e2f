from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune

PACKAGE = Path(finetune.__file__).parent
README = PACKAGE.parent / "README.md"
LAYERS = {
    10: {"cli"},
    9: {"pipeline"},
    8: {"decide"},
    7: {"trials"},
    6: {"realise"},
    5: {"apply", "survey", "tune"},
    4: {"predict", "prepared", "train"},
    3: {"console", "engine", "health"},
    2: {"backbones", "checks", "export", "features", "report", "runs", "tables", "verdict"},
    1: {
        "alike",
        "augment",
        "batches",
        "cache",
        "data",
        "evaluate",
        "inference",
        "mistakes",
        "probe",
    }
    | {"profile", "resume", "strategy", "weights"},
    0: {"checkpoint", "disk", "matrix", "records", "strangers"},
    -1: {"errors"},
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("__"))
TORCH_FREE = (
    *("errors", "records", "data", "strategy", "profile", "probe", "evaluate", "report"),
    *("batches", "inference", "features", "runs", "predict", "apply", "console", "cli"),
    *("weights", "matrix", "cache", "export", "prepared", "survey", "realise", "decide"),
    *("alike", "checks", "health", "pipeline", "strangers", "disk", "resume"),
    *("mistakes", "tables", "verdict"),
)
STATEMENTS = 40


def tree(name: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Full names that an import statement brings in, such as `finetune.records.Plan`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(name: str) -> set[str]:
    """Everything that a module imports, inside functions too."""
    return {full for node in ast.walk(tree(name)) for full in imported(node)}


def own_imports(name: str) -> set[str]:
    """The modules of this package that a module imports."""
    parts = [full.split(".") for full in imports(name) if full.startswith("finetune.")]
    return {p[1] for p in parts if p[1] in MODULES}


def functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def count_statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Statements inside a function, nested ones counted, its docstring not."""
    inside = sum(isinstance(n, ast.stmt) for n in ast.walk(function)) - 1
    return inside - (ast.get_docstring(function) is not None)


def calls_to(name: str, function: str) -> list[int]:
    """Lines where a module calls the function of that (dotted) name."""
    return [
        node.lineno
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function
    ]


def code_map(text: str) -> dict[str, str]:
    """The rows of the table in a README's section "Code map": module → what it does."""
    section = text.partition("\n## Code map\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", section, re.MULTILINE))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_every_module_has_its_layer() -> None:
    """No module of the package is missing from the list of layers, none stands in two."""
    assert set(MODULES) <= set(LAYER)
    assert sum(map(len, LAYERS.values())) == len(LAYER)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    """A module imports from lower layers, never from its own or a higher one."""
    wrong = {other for other in own_imports(name) if LAYER[other] >= LAYER[name]}

    assert wrong == set()


@pytest.mark.parametrize("name", ["__init__", "__main__"])
def test_the_entry_points_import_only_the_command_line(name: str) -> None:
    """`import finetune` and `python -m finetune` bring in nothing else by themselves."""
    assert own_imports(name) <= {"cli"}


@pytest.mark.parametrize("name", [m for m in MODULES if m != "console"])
def test_only_console_imports_rich_and_prints(name: str) -> None:
    """What people see is made in one place."""
    assert not {full for full in imports(name) if full.split(".")[0] == "rich"}
    assert calls_to(name, "print") == []


@pytest.mark.parametrize("name", MODULES)
def test_foreign_weights_are_read_in_one_place(name: str) -> None:
    """Only `backbones` calls `torch.load`, only for weights; nothing is unpickled anywhere."""
    source = (PACKAGE / f"{name}.py").read_text("utf-8")

    lines = calls_to(name, "torch.load")
    assert name == "backbones" or lines == []
    assert all("weights_only=True" in source.splitlines()[line - 1] for line in lines)
    assert not {f for f in imports(name) if f.split(".")[0] in {"pickle", "dill", "joblib"}}


@pytest.mark.parametrize("name", TORCH_FREE)
def test_light_modules_do_not_name_torch_at_their_top(name: str) -> None:
    """No import of torch stands outside a function, nor of a module that imports it."""
    top = {full for node in tree(name).body for full in imported(node)}
    heavy = {m for m in MODULES if m not in TORCH_FREE}

    assert not {f for f in top if f.split(".")[0] in {"torch", "torchvision", "timm", "openvino"}}
    assert not {f for f in top if f.startswith("finetune.") and f.split(".")[1] in heavy}


def test_light_modules_do_not_load_torch() -> None:
    """Importing all of them in a fresh interpreter leaves torch, scipy and OpenVINO unloaded."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'finetune.{name}')\n"
        "    for heavy in ('torch', 'scipy', 'openvino'):\n"
        "        assert heavy not in sys.modules, (name, heavy)\n"
    )

    done = python("-c", script, *TORCH_FREE)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--help"], "recommend"),
        (["train", "--help"], "--max-per-class"),
        (["recommend", "--size", "small", "--similarity", "different"], "stage-probe"),
    ],
    ids=" ".join,
)
def test_quick_answers_do_not_wait_for_torch(arguments: list[str], answer: str) -> None:
    """Help and the decision table come without loading torch."""
    script = (
        "import sys\n"
        "from finetune.cli import run\n"
        "code = run(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )

    done = python("-c", script, *arguments)

    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short(name: str) -> None:
    """No function has more statements than fit on a screen."""
    sizes = {f.name: count_statements(f) for f in functions(name)}

    assert {f: n for f, n in sizes.items() if n > STATEMENTS} == {}


@pytest.mark.parametrize("name", ["__init__", "__main__", *MODULES])
def test_every_module_says_what_it_is_for(name: str) -> None:
    """The first line of a module is one sentence that ends with a full stop."""
    first = (ast.get_docstring(tree(name)) or "").partition("\n")[0]

    assert re.fullmatch(r"\S.{5,120}\.", first)


def test_the_readmes_code_map_is_the_code() -> None:
    """Each module has its row in the README, in the words of its docstring, and no other has."""
    docstrings = {name: str(ast.get_docstring(tree(name))).partition("\n")[0] for name in MODULES}

    assert code_map(README.read_text("utf-8")) == docstrings


def test_the_code_map_is_read_as_it_is_written() -> None:
    """The reader of the table finds its rows, and none of other sections or of the heading."""
    text = (
        "# x\n| `a` | no. |\n## Code map\nWords.\n\n| module | what |\n| --- | --- |\n"
        "| `cli` | Options → `x | y`. |\n| `errors` | Faults. |\n\n## Next\n| `b` | no. |\n"
    )

    assert code_map(text) == {"cli": "Options → `x | y`.", "errors": "Faults."}

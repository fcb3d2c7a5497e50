"""Rules about the code that a machine can check. Every check is shown to fail on code that breaks its rule."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (".ci", "eval", "experiments", "harness", "requirements", "scripts", "tests")
MODULES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("harness", "eval")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
ONLY = {
    "covertable": "harness/generate/covering.py",
    "faiss": "harness/vectorindex.py",
    "mlflow": "harness/mlflowstore.py",
    "openai": "harness/llm/endpoint.py",
    "peft": "harness/train/adapt.py",
    "ray": "harness/raycluster.py",
    "sentence_transformers": "harness/embed.py",
    "xllamacpp": "harness/llm/embedded.py",
}
HEAVY = {
    "faiss",
    "torch",
    "transformers",
    "mlflow",
    "openai",
    "peft",
    "sentence_transformers",
    "datasets",
    "matplotlib",
    "ray",
}
LOADED_LATE = tuple(
    f"harness/train/{name}.py"
    for name in (
        "adapt",
        "causal",
        "checkpoint",
        "classifier",
        "decoding",
        "encoder",
        "generative",
        "line",
        "lora",
        "packing",
    )
)
"""Imported by others inside functions only, so that they may import torch at their top."""
READERS_OF_HELD_OUT = ("harness/decisions.py", "harness/filters/leakage.py")
HOLDERS_OF_HELD_OUT = ("harness/decisions.py", "harness/rounds.py")
PRINTERS = tuple(f"harness/{name}.py" for name in ("cli", "collapsecli", "comparecli", "reviewcli", "terminal"))
LONGEST = 350
HOME = re.compile(r"(?<![\w.~/-])/(?:work|home|root|Users|mnt|tmp)/\w")


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, *, functions: bool) -> Iterator[ast.AST]:
    """All nodes below `node` but those for the type checker; those in functions only if asked for."""
    for child in ast.iter_child_nodes(node):
        if is_typing_only(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield from [other, *statements(other, functions=functions)]
        elif functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from statements(child, functions=functions)


def imported(source: str, *, functions: bool = True) -> set[str]:
    """Dotted names of the modules that the code imports, also by `import_module("…")`."""
    found: set[str] = set()
    for node in statements(ast.parse(source), functions=functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    return found


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def prints(source: str) -> bool:
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print", "sys.stdout.write")
        for node in ast.walk(ast.parse(source))
    )


def calls(source: str, name: str) -> bool:
    """Whether the code calls a function or method of this name."""
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(name == (node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)) for node in called)


def length(source: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in source.splitlines())


def texts() -> dict[str, str]:
    """Every text file of the project by its path; what a checkout holds besides (stores, environments) is left out."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    paths += [path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()]
    found: dict[str, str] = {}
    for path in sorted(paths):
        content = path.read_bytes()
        if b"\0" not in content and "__pycache__" not in path.parts:
            found[path.relative_to(ROOT).as_posix()] = content.decode("utf-8")
    return found


def test_the_rules_are_about_all_the_code() -> None:
    assert len(MODULES) > 50
    assert set(ONLY.values()) | set(LOADED_LATE) | set(PRINTERS) | {"harness/records.py", "eval/gap.py"} <= set(MODULES)


@pytest.mark.parametrize(("package", "home"), ONLY.items())
def test_one_module_knows_each_of_these_packages(package: str, home: str) -> None:
    assert [name for name, source in MODULES.items() if package in packages(imported(source))] == [home]


def test_eval_judges_predictions_and_needs_no_model() -> None:
    found = {name: imported(source) for name, source in MODULES.items() if name.startswith("eval/")}
    assert {name: packages(names) & HEAVY for name, names in found.items() if packages(names) & HEAVY} == {}
    ours = {one for names in found.values() for one in names if one.startswith("harness")}
    assert ours == {"harness.records"}


def test_heavy_packages_are_imported_inside_functions() -> None:
    found = {name: packages(imported(source, functions=False)) & HEAVY for name, source in MODULES.items()}
    assert [name for name, names in found.items() if names] == list(LOADED_LATE)


def test_modules_with_torch_at_their_top_are_imported_inside_functions() -> None:
    late = {name.removesuffix(".py").replace("/", ".") for name in LOADED_LATE}
    early = {
        name
        for name, source in MODULES.items()
        for node in statements(ast.parse(source), functions=False)
        if name not in LOADED_LATE and isinstance(node, ast.ImportFrom | ast.Import)
        if late & {ast.unparse(node).split()[1], *(f"{ast.unparse(node).split()[1]}.{one.name}" for one in node.names)}
    }
    assert early == set()


def test_the_records_need_the_standard_library_only() -> None:
    assert packages(imported(MODULES["harness/records.py"])) <= sys.stdlib_module_names


def test_only_the_overlap_checks_read_held_out_texts() -> None:
    """`HeldOutTexts.pairs` gives dev, anchor and test texts: to the leakage filter and to the guard of free hints."""
    assert [name for name, source in MODULES.items() if calls(source, "pairs")] == list(READERS_OF_HELD_OUT)
    assert [name for name, source in MODULES.items() if calls(source, "HeldOutTexts")] == ["harness/real.py"]
    assert [name for name, source in MODULES.items() if calls(source, "guard")] == list(HOLDERS_OF_HELD_OUT)


def test_only_the_end_of_a_run_and_its_pooling_open_the_test() -> None:
    found = {
        name
        for name, source in MODULES.items()
        if "TestSeal" in source or re.search(r"\b(?:test|seal)\.open\(", source)
    }
    assert found == {f"harness/{name}.py" for name in ("final", "real", "replicates", "seal", "suiteopening")}


def test_only_the_command_line_prints() -> None:
    assert [name for name, source in MODULES.items() if prints(source)] == list(PRINTERS)


def test_a_module_is_a_page_or_three() -> None:
    assert {name: length(source) for name, source in MODULES.items() if length(source) > LONGEST} == {}


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    files = texts()
    assert {"pyproject.toml", "harness/cli.py", "scripts/quickstart", ".ci/run"} <= set(files)
    found = {name: HOME.findall(text) for name, text in files.items() if HOME.search(text)}
    assert found == {}


@pytest.mark.parametrize(
    ("code", "everywhere", "at_the_top"),
    [
        ("import torch.nn", {"torch"}, {"torch"}),
        ("from torch.nn import functional", {"torch"}, {"torch"}),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", {"torch"}, {"torch"}),
        ("class A:\n    import torch", {"torch"}, {"torch"}),
        ("def f():\n    import torch", {"torch"}, set()),
        ("async def f():\n    from torch import nn", {"torch"}, set()),
        ("import importlib\nx = importlib.import_module('torch')", {"torch", "importlib"}, {"torch", "importlib"}),
        ("if TYPE_CHECKING:\n    import torch", set(), set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import torch", {"torch"}, {"torch"}),
        ("text = 'import torch'", set(), set()),
    ],
)
def test_imports_are_found_wherever_they_stand(code: str, everywhere: set[str], at_the_top: set[str]) -> None:
    assert packages(imported(code)) == everywhere
    assert packages(imported(code, functions=False)) == at_the_top


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('x')", True),
        ("def f():\n    return [print(x) for x in y]", True),
        ("import sys\nsys.stdout.write('x')", True),
        ("text = 'print(1)'  # print(2)", False),
        ("console.print('x')", False),
    ],
)
def test_prints_are_found(code: str, expected: bool) -> None:
    assert prints(code) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = [text for _, _, text in guard.pairs()]", True),
        ("pairs()", True),
        ("guard.pairs", False),
        ("confused_pairs(report)", False),
        ("text = 'guard.pairs()'", False),
    ],
)
def test_calls_are_found(code: str, expected: bool) -> None:
    assert calls(code, "pairs") is expected


def test_lines_are_counted() -> None:
    assert length("a\n\n  \nb\n") == 2


@pytest.mark.parametrize("place", ["work", "home", "root", "Users", "tmp"])
def test_places_are_found(place: str) -> None:
    assert HOME.search(f"see /{place}/main for it")
    assert HOME.search(f'"/{place}/x"')
    assert not HOME.search(f"https://host.example/{place}/x and ./{place}/x and ~/{place}/x and /{place}")


def test_no_two_test_files_have_one_name() -> None:
    """pytest collects them by name: two of one name end the whole run before its first test."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))

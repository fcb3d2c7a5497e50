"""The scripts a person calls first, and the pins they install: what they say when they cannot go on."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9/simple"
PINS = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;\\]+)", re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the scripts read, with every way out of this machine closed."""
    copy = tmp_path / "pro ject"
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PIP_RETRIES", "1")
    return copy


@pytest.fixture
def make_venv(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/make_venv.py of the copy, so that its .venv is the copy's."""
    spec = importlib.util.spec_from_file_location("make_venv", project / "scripts" / "make_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TORCH_INDEX", NOWHERE)
    monkeypatch.setattr(module, "VENV_GB", 0.0)
    monkeypatch.setattr(module, "TEMPORARY_GB", 0.0)
    return module


def bare_venv(make_venv: ModuleType, *, torch: bool) -> None:
    """A .venv without pip; `torch` adds a record that it is installed, which is all that the script looks at."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(make_venv.VENV)], check=True)
    if torch:
        packages = next(make_venv.VENV.glob("lib/python3*/site-packages"))
        (packages / "torch-2.13.0.dist-info").mkdir()
        (packages / "torch-2.13.0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n"
        )


def fake_path(folder: Path, python: str | None = None) -> dict[str, str]:
    """An environment whose PATH holds what the scripts call and, at most, one `python3`, a script with this line."""
    folder.mkdir()
    for program in ("bash", "dirname"):
        path = shutil.which(program)
        assert path is not None
        (folder / program).symlink_to(path)
    if python is not None:
        (folder / "python3").write_text(f"#!{shutil.which('bash')}\n{python}\n")
        (folder / "python3").chmod(0o755)
    return {**os.environ, "PATH": str(folder)}


def call(script: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run([bash, str(script)], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["setup-env", "quickstart", "test", "bench"])
def test_a_python_too_old_is_named_in_one_sentence(script: str, project: Path, tmp_path: Path) -> None:
    done = call(project / "scripts" / script, fake_path(tmp_path / "bin", "echo 3.9.2"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "setup-env: Python 3.11, 3.12, 3.13 or 3.14 is needed and none is on PATH (python3 is 3.9.2); install one"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("python", [None, "exit 127"])
def test_no_python_at_all(python: str | None, project: Path, tmp_path: Path) -> None:
    done = call(project / "scripts" / "setup-env", fake_path(tmp_path / "bin", python))
    assert done.returncode == 1
    assert "none is on PATH; install one" in done.stderr


def test_a_second_call_changes_nothing_and_needs_no_network(
    make_venv: ModuleType, project: Path, tmp_path: Path
) -> None:
    bare_venv(make_venv, torch=False)
    make_venv.STAMP.write_text(json.dumps(make_venv.wanted(make_venv.python_version())))
    before = {path: path.lstat().st_mtime_ns for path in make_venv.VENV.rglob("*")}

    done = call(project / "scripts" / "setup-env", fake_path(tmp_path / "bin", f'exec "{sys.executable}" "$@"'))

    assert (done.returncode, done.stdout, done.stderr) == (0, "setup-env: .venv is up to date\n", "")
    assert {path: path.lstat().st_mtime_ns for path in make_venv.VENV.rglob("*")} == before


def test_changed_pins_are_installed_in_place_and_a_package_that_cannot_be_had_is_named(
    make_venv: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare_venv(make_venv, torch=True)
    make_venv.STAMP.write_text(json.dumps(make_venv.wanted(make_venv.python_version())))
    with (project / "requirements" / "lock.txt").open("a") as lock:
        lock.write("# changed\n")
    first, version = PINS.findall((project / "requirements" / "lock.txt").read_text())[0]

    assert make_venv.main() == 1

    output = capsys.readouterr()
    assert "anew" not in output.out
    assert output.err.startswith(f"setup-env: {first}=={version} could not be installed; pip said 'No matching")
    assert "check the network, the proxy and pip's sources (`pip config list`) and call this again" in output.err
    assert output.err.count("\n") == 1
    assert "Connection refused" in make_venv.LOG.read_text()
    assert not make_venv.STAMP.exists()
    assert not make_venv.UNFINISHED.exists()


def test_a_half_made_venv_is_made_anew_with_pip_alone(
    make_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_venv, "has_module", lambda name: name != "ensurepip")
    bare_venv(make_venv, torch=True)
    make_venv.UNFINISHED.touch()

    assert make_venv.main() == 1

    output = capsys.readouterr()
    assert "making .venv anew: an earlier setup was stopped half-way" in output.out
    assert not list(make_venv.VENV.glob("lib/python3*/site-packages/torch*"))
    assert re.match(r"setup-env: torch==2\.13\.0(\+cpu)? could not be installed; pip said 'No matching", output.err)
    assert "`.venv/bin/python -m pip install torch==2.13.0`" in output.err


def test_a_venv_that_was_moved_or_whose_python_changed_is_made_anew(make_venv: ModuleType) -> None:
    bare_venv(make_venv, torch=False)
    assert make_venv.reason_to_start_over() is None
    stamp = make_venv.wanted(make_venv.python_version())
    make_venv.STAMP.write_text(json.dumps({**stamp, "root": "/elsewhere"}))
    assert make_venv.reason_to_start_over() == "it was made in /elsewhere"
    make_venv.STAMP.write_text(json.dumps({**stamp, "python": "3.11.0"}))
    assert make_venv.reason_to_start_over() == f"its Python changed from 3.11.0 to {make_venv.python_version()}"
    make_venv.PYTHON.unlink()
    assert make_venv.reason_to_start_over() == "its Python does not start"


def test_a_short_disk_is_refused_before_anything_is_made(
    make_venv: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_venv, "VENV_GB", 3e9)
    assert make_venv.main() == 1
    error = capsys.readouterr().err
    assert re.match(
        r"setup-env: 3000000000\.0 GB of disk are needed at .* and only [\d.]+ GB are free; free some", error
    )
    assert not make_venv.VENV.exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: 2)\n"
            "ERROR: No matching distribution found for x==1\n",
            "x==1 could not be installed; pip said 'No matching distribution found for x==1'; check that pip's sources "
            "(`pip config list`) have it for this machine and call this again",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
            "    x==1 from https://example.org/x-1.whl:\n        Expected sha256 aa\n             Got        bb\n",
            "x==1 could not be installed; pip said 'THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.'"
            "; its file is not the one that was pinned, so check pip's sources",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n",
            "a package could not be installed; pip said 'Could not install packages due to an OSError: [Errno 28] No "
            "space left on device'; free some disk space and call this again",
        ),
    ],
)
def test_what_pip_said_becomes_one_sentence(output: str, expected: str, make_venv: ModuleType) -> None:
    sentence = str(make_venv.explain(output))
    assert sentence.startswith(expected)
    assert "\n" not in sentence


def test_the_scripts_are_executable() -> None:
    for name in (
        "scripts/setup-env",
        "scripts/quickstart",
        "scripts/test",
        "scripts/bench",
        "scripts/screenshots",
        "scripts/lock",
        ".ci/run",
    ):
        assert os.access(ROOT / name, os.X_OK), name


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {canonicalize_name(package): version for package, version in PINS.findall(text)}


def test_the_lock_is_what_pyproject_asks_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*pyproject["project"]["dependencies"], *pyproject["project"]["optional-dependencies"]["test"]]
    asked += pyproject["build-system"]["requires"]
    locked = pins("lock.txt") | pins("torch.txt")
    for requirement in map(Requirement, asked):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is pinned: run scripts/lock"


def test_the_lock_holds_no_cuda_and_torch_has_one_version_everywhere() -> None:
    assert not [name for name in pins("lock.txt") if name.startswith(("torch", "nvidia", "cuda", "triton"))]
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (torch,) = (entry for entry in pyproject["tool"]["uv"]["dependency-metadata"] if entry["name"] == "torch")
    versions = re.findall(r"^torch==([\d.]+)", (ROOT / "requirements" / "torch.txt").read_text(), re.MULTILINE)
    assert set(versions) == {torch["version"]}

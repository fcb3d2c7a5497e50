"""Make .venv as requirements/ says, or leave it alone when it already is right.

Called by scripts/setup-env with any Python from 3.11 to 3.14; standard library only. A call does one of four things:

- `.venv/harness.json` (the stamp) says that what is wanted is there: nothing, without touching the network;
- the stamp is there and requirements/ or pyproject.toml changed, or an earlier call ended with an error: pip brings
  the environment up to date in place;
- an earlier call was killed, the Python behind .venv changed, or the folder was moved: .venv is made anew;
- there is no .venv: it is made.

Requirements are pinned with checksums (`pip --require-hashes`), and only wheels are taken, so no compiler is needed.
A torch of the pinned version that is already in .venv stays, whatever build it is: that is how a machine with a GPU
keeps a CUDA build.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "harness.json"
UNFINISHED = VENV / "unfinished"
LOG = VENV / "install.log"
REQUIREMENTS = ROOT / "requirements"
INPUTS = (REQUIREMENTS / "torch.txt", REQUIREMENTS / "lock.txt", REQUIREMENTS / "no-deps.txt", ROOT / "pyproject.toml")

# Measured on Linux x86_64, rounded up: the finished .venv, and what pip unpacks on its way there.
VENV_GB = 3.3
TEMPORARY_GB = 1.0

# Where CPU wheels of torch are published. Asked only when pip's own sources have none, and checked like any other
# source: torch.txt lists the checksums.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

TORCH_PIN = re.compile(r"^torch==([\d.]+)", re.MULTILINE)
UNREACHABLE = re.compile(r"Retrying \(|Could not fetch URL|Failed to establish|NameResolution|timed out", re.IGNORECASE)


class SetupError(Exception):
    """The environment cannot be made; the message is one sentence for a person."""


def main() -> int:
    try:
        with one_at_a_time() as lock:
            set_up(lock)
    except SetupError as error:
        print(f"setup-env: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup-env: {error.filename or ROOT} cannot be used: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup-env: interrupted; call it again to start over", file=sys.stderr)
        return 130
    return 0


def set_up(lock: IO[bytes]) -> None:
    if STAMP.exists() and not UNFINISHED.exists() and read_stamp() == wanted(python_version()):
        say(".venv is up to date")
        return
    if VENV.exists() and (reason := reason_to_start_over()):
        say(f"making .venv anew: {reason}")
        empty_venv()
    if not (VENV / "pyvenv.cfg").exists():
        check_disk()
        make_venv()
    install_all(lock)
    say(".venv is ready")


@contextlib.contextmanager
def one_at_a_time() -> Generator[IO[bytes]]:
    """Hold a file lock, so that two calls at once do not write into the same .venv."""
    with (REQUIREMENTS / "lock.txt").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another setup of this .venv to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def wanted(version: str | None) -> dict[str, str | None]:
    """What a finished .venv's stamp holds: its Python, its place (console scripts carry it), and its inputs' hash."""
    digest = hashlib.sha256()
    for path in INPUTS:
        digest.update(path.read_bytes())
    return {"python": version, "root": str(ROOT), "requirements": digest.hexdigest()}


def read_stamp() -> dict[str, str | None]:
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def python_version() -> str | None:
    """The version of .venv's Python, `"3.11.7"`, or None when it does not start."""
    return output_of([str(PYTHON), "-I", "-c", "import platform; print(platform.python_version())"])


def reason_to_start_over() -> str | None:
    if UNFINISHED.exists():
        return "an earlier setup was stopped half-way"
    version, stamp = python_version(), read_stamp()
    if version is None:
        return "its Python does not start"
    if not (3, 11) <= tuple(int(part) for part in version.split(".")[:2]) <= (3, 14):
        return f"its Python is {version}"
    if stamp and stamp.get("python") != version:
        return f"its Python changed from {stamp.get('python')} to {version}"
    if stamp and stamp.get("root") != str(ROOT):
        return f"it was made in {stamp.get('root')}"
    return None


def check_disk() -> None:
    """Refuse before the first byte when the disk, or the one for temporary files, is too small."""
    temporary = Path(tempfile.gettempdir())
    needs = {ROOT: VENV_GB, temporary: TEMPORARY_GB}
    if ROOT.stat().st_dev == temporary.stat().st_dev:
        needs = {ROOT: VENV_GB + TEMPORARY_GB}
    for place, need in needs.items():
        free = shutil.disk_usage(place).free / 1e9
        if free < need:
            raise SetupError(
                f"{need:.1f} GB of disk are needed at {place} and only {free:.1f} GB are free; free some space and "
                "call this again."
            )


def empty_venv() -> None:
    """Remove what is in .venv, the mark that it is unfinished last, so that being stopped here leaves it marked."""
    UNFINISHED.touch()
    for path in sorted(VENV.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != UNFINISHED:
            path.unlink()
    UNFINISHED.unlink()


def make_venv() -> None:
    if not has_module("ensurepip") and not has_module("pip"):
        raise SetupError(
            f"{sys.executable} has neither pip nor ensurepip, so nothing can be installed with it; install pip "
            "(Debian and Ubuntu: apt install python3-pip python3-venv) and call this again."
        )
    say(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    options = [] if has_module("ensurepip") else ["--without-pip"]
    made = subprocess.run(
        [sys.executable, "-I", "-m", "venv", *options, str(VENV)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SetupError(f"{sys.executable} could not make a virtual environment; it said: {last_line(made.stdout)}")


def install_all(lock: IO[bytes]) -> None:
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    try:
        install_torch(lock)
        pinned = [REQUIREMENTS / "lock.txt", REQUIREMENTS / "no-deps.txt"]
        files = [option for path in pinned for option in ("-r", str(path))]
        say("installing the packages of requirements/ (about 600 MB to download, some minutes)")
        pip(lock, "--no-deps", "--require-hashes", "--only-binary", ":all:", *files)
        say("installing the harness itself")
        pip(lock, "--no-deps", "--no-index", "--no-build-isolation", "--editable", str(ROOT))
        STAMP.write_text(json.dumps(wanted(python_version()), indent=2) + "\n", encoding="utf-8")
    except SetupError:
        # pip ended by itself, so what it did install is whole and the next call can go on from here.
        UNFINISHED.unlink()
        raise
    UNFINISHED.unlink()


def install_torch(lock: IO[bytes]) -> None:
    plain = TORCH_PIN.findall((REQUIREMENTS / "torch.txt").read_text(encoding="utf-8"))[0]
    present = output_of([str(PYTHON), "-I", "-c", "from importlib.metadata import version; print(version('torch'))"])
    if present and present.split("+")[0] == plain:
        return
    say(f"installing torch {plain}, CPU build (about 200 MB to download)")
    options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS / "torch.txt"))
    try:
        pip(lock, *options)
    except NotFoundError:
        say(f"pip's sources have no CPU build of torch; asking {TORCH_INDEX}")
        try:
            pip(lock, *options, "--extra-index-url", TORCH_INDEX)
        except NotFoundError as error:
            raise SetupError(
                f"{error} Another build of that version is fine too, if you put it into .venv yourself: "
                f"`.venv/bin/python -m pip install torch=={plain}` (PyPI's for Linux adds several GB of CUDA packages)."
            ) from None


class NotFoundError(SetupError):
    """No source of pip's has the package in the pinned version for this machine."""


def pip(lock: IO[bytes], *options: str) -> None:
    """Run `pip install` with its output in the log; `lock` stays held for as long as pip lives."""
    command = [*pip_command(), "install", "--no-input", "--progress-bar", "off", *options]
    tail: list[str] = []
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            # A pip that outlives this process must keep the next call from removing .venv under it.
            pass_fds=[lock.fileno()],
        ) as process,
    ):
        count = 0
        for line in process.stdout or ():
            log.write(line)
            tail = [*tail[-200:], line]
            if line.startswith(("Collecting ", "Processing ")):
                count += 1
                show_progress(count, line)
            elif line.startswith("Installing collected packages"):
                show_progress(count, "unpacking all of them")
    clear_progress()
    if process.returncode:
        raise explain("".join(tail))


def pip_command() -> list[str]:
    if output_of([str(PYTHON), "-I", "-m", "pip", "--version"]):
        return [str(PYTHON), "-I", "-m", "pip"]
    if not has_module("pip"):
        raise SetupError(f"{sys.executable} has no pip; install it (Debian and Ubuntu: apt install python3-pip).")
    return [sys.executable, "-I", "-m", "pip", "--python", str(PYTHON)]


def explain(output: str) -> SetupError:
    """One sentence from what pip wrote: which package, pip's own last word, what to do.

    >>> str(explain("ERROR: No matching distribution found for numpy==2.4.6"))[:36]
    'numpy==2.4.6 could not be installed;'
    """
    missing = re.findall(r"No matching distribution found for ([^\s;]+)", output)
    refused = re.findall(r"^ {4}([\w.-]+(?:==|\s@\s)\S+)", output, re.MULTILINE) if "HASHES" in output else []
    package = (missing or refused or ["a package"])[-1]
    if "No space left on device" in output:
        advice = "free some disk space"
    elif UNREACHABLE.search(output):
        advice = "check the network, the proxy and pip's sources (`pip config list`)"
    elif refused:
        advice = "its file is not the one that was pinned, so check pip's sources (`pip config list`)"
    else:
        advice = "check that pip's sources (`pip config list`) have it for this machine"
    sentence = (
        f"{package} could not be installed; pip said {last_line(output)!r}; {advice} and call this again "
        f"(pip's whole output is in {LOG.relative_to(ROOT)})."
    )
    return NotFoundError(sentence) if missing else SetupError(sentence)


def last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["nothing"])[-1].removeprefix("ERROR: ")


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def output_of(command: list[str]) -> str | None:
    """What a command prints, or None when it does not start or fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def say(sentence: str) -> None:
    print(f"setup-env: {sentence}", flush=True)


def show_progress(count: int, line: str) -> None:
    if sys.stdout.isatty():
        what = Path(line.split()[1]).name if line.startswith(("Collecting ", "Processing ")) else line
        print(f"\r\033[K  {count}: {what[:60]}", end="", flush=True)


def clear_progress() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Row 36: a store whose folders and files may not be written to, from the start, in the middle of a run and after it.

Permissions do not stop root. So the processes are started without the capability that lets root pass them over
(CAP_DAC_OVERRIDE); what they own with mode 0500 is then read-only for them too.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faultlist.course import Undisturbed, look, undisturbed
from faultlist.row import Options, Row
from faultlist.trial import LONGEST_RUN_S, Trial, differences, environment

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
WRITE = "import sys\nfrom pathlib import Path\n(Path(sys.argv[1]) / 'probe').write_text('x')"
FAULT = "a store that may not be written to (new, in mid-run, finished, its reports only)"


def powerless() -> None:
    """For a child before its program starts: permissions hold, for root too."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """All below `folder` without write permission, and afterwards as it was."""
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")] if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


def measure(options: Options) -> Sequence[Row]:
    probe = options.work / "probe"
    probe.mkdir()
    with read_only(probe):
        wrote = subprocess.run(
            [sys.executable, "-c", WRITE, str(probe)], preexec_fn=powerless, capture_output=True, check=False
        )
    if not wrote.returncode:
        said = "this machine lets the user write to a folder of mode 0500"
        return [Row(36, FAULT, 0, None, said, options.seed)]
    plain = undisturbed(options.root)
    cases = {
        "new": new_store(options, plain),
        "in mid-run": mid_run(options, plain),
        "finished": finished(options, plain),
        "reports only": reports_only(options, plain),
    }
    wrong = [f"{name}: {problem}" for name, problem in cases.items() if problem]
    figure = f"one message, finished stages kept, and the same bytes later: {len(cases) - len(wrong)} of {len(cases)}"
    return [Row(36, FAULT, len(cases), not wrong, figure + f" ({'; '.join(wrong)})" * bool(wrong), options.seed)]


def new_store(options: Options, plain: Undisturbed) -> str:
    """What did not hold where the store cannot even be made; "" if all did."""
    trial = plain.twin(options.work / "new")
    closed = trial.folder / "closed"
    closed.mkdir()
    with read_only(closed):
        code = trial.run("--set", "runtime.store=closed/runs", preexec_fn=powerless)
    asked = len(plain.desk.delivered(trial.tenant))
    return _refusal(trial, code) or (f"{asked} calls were paid" if asked else "")


def mid_run(options: Options, plain: Undisturbed) -> str:
    trial = plain.twin(options.work / "midway")
    process = trial.start(preexec_fn=powerless)
    while not look(trial).has("call 20") and process.poll() is None:
        time.sleep(0.005)
    with read_only(trial.store):
        code = process.wait(LONGEST_RUN_S)
    return _refusal(trial, code) or _goes_on(trial, plain)


def finished(options: Options, plain: Undisturbed) -> str:
    """A finished run can be looked at, and the same command neither breaks nor changes it."""
    trial = _copied(options, plain, "finished")
    before = trial.contents()
    with read_only(trial.store):
        shown = subprocess.run(
            [sys.executable, "-m", "harness.cli", "show"],
            cwd=trial.folder,
            env=environment(),
            capture_output=True,
            text=True,
            preexec_fn=powerless,
            check=False,
        )
        code = trial.run(preexec_fn=powerless)
    if shown.returncode or "run-" not in shown.stdout:
        return f"`harness show` ended with exit code {shown.returncode}: {shown.stderr.strip()[-100:]}"
    if code not in (0, 2) or "Traceback" in trial.said:
        return f"the same command ended with exit code {code}: {trial.said.strip()[-100:]}"
    return "files changed" if differences(before, trial.contents()) else ""


def reports_only(options: Options, plain: Undisturbed) -> str:
    """The page cannot be written; the run is there all the same."""
    trial = _copied(options, plain, "reports")
    for path in (trial.store / "reports").glob("*/*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with read_only(trial.store / "reports"):
        code = trial.run(preexec_fn=powerless)
    if code not in (0, 2) or "Traceback" in trial.said:
        return f"exit code {code}: {trial.said.strip()[-100:]}"
    return _goes_on(trial, plain)


def _copied(options: Options, plain: Undisturbed, name: str) -> Trial:
    trial = plain.twin(options.work / name)
    shutil.rmtree(trial.store)
    shutil.copytree(plain.trial.store, trial.store)
    return trial


def _refusal(trial: Trial, code: int) -> str:
    """ "" where the run ended with one message."""
    fine = code == 2 and "Traceback" not in trial.said and trial.said.count("error:") == 1
    return "" if fine else f"exit code {code}: {trial.said.strip()[-100:]}"


def _goes_on(trial: Trial, plain: Undisturbed) -> str:
    """ "" where, with permission again, nothing finished is made anew and the end is as without the fault."""
    made = trial.artefacts()
    trial.finished()
    now = trial.artefacts()
    if any(now.get(name) != file for name, file in made.items()):
        return "finished stages were made anew"
    return "other bytes in the end" if differences(plain.trial.contents(), trial.contents()) else ""

"""Rows 16, 19 and 20: files that a person was given by somebody else: templates in settings, YAML, model weights."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultlist.row import Options, Row
from faultlist.trial import SPEC, environment, python

ATTACKS = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ noun.__class__.__base__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('touch PWNED').read() }}",
    "{{ ''.format.__globals__ }}",
    "{{ '{0.__class__}'.format(noun) }}",
    "{% for one in ().__class__.__base__.__subclasses__() %}{{ one }}{% endfor %}",
    "{{ self._TemplateReference__context }}",
    "{{ noun|attr('__class__') }}",
    "{% include '/etc/passwd' %}",
    "{{ unknown }}",
    "{{ range(10**10) | list }}",
)
GIVEN_AWAY = re.compile(r"<class|<module|built-in|root:|subclasses|object at")
LONGEST_S = 20.0


def templates(options: Options) -> Sequence[Row]:
    """Row 16: as a template, and as a value of every setting that goes into prompts."""
    import jinja2

    from harness.generate.prompts import one_line, render

    escaped, refused = 0, 0
    for attack in ATTACKS:
        try:
            said = render(attack, {"noun": "question"})
        except (jinja2.TemplateError, jinja2.exceptions.SecurityError, OverflowError, TypeError):
            refused += 1
        else:
            escaped += bool(GIVEN_AWAY.search(said))
    as_values = sum(
        render(
            "{{ noun }} {% for text in shots %}{{ text }}{% endfor %}", {"noun": attack, "shots": [one_line(attack)]}
        )
        != f"{attack} {one_line(attack)}"
        for attack in ATTACKS
    )
    made = list(options.work.rglob("PWNED")) + list(Path.cwd().glob("PWNED"))
    figure = (
        f"escapes {escaped} of {len(ATTACKS)} ({refused} refused); run as a value {as_values}; files made {len(made)}"
    )
    held = not (escaped or as_values or made)
    return [
        Row(
            16, "templates that reach for Python, as settings and as data", 2 * len(ATTACKS), held, figure, options.seed
        )
    ]


def bad_files() -> dict[str, bytes]:
    """Name → content of a YAML file that must be refused."""
    bomb = "l0: &l0 [x]\n" + "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12))
    merges = "m0: &m0 {a: 1}\n" + "\n".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 12)
    )
    whole = SPEC.encode()
    return {
        "alias bomb": bomb.encode(),
        "merge bomb": merges.encode(),
        "alias in itself": b"a: &x [*x]\n",
        "!!python/object": b"name: x\ntask: !!python/object/apply:os.system ['touch PWNED']\n",
        "!!python/name": b"name: !!python/name:os.system ''\n",
        "duplicate key": whole + b"train: {steps: 4}\n",
        "unknown key": whole + b"colour: red\n",
        "key below": whole.replace(b"{steps: 3, ", b"{stepz: 3, "),
        "tab": whole + b"collapse:\n\tgenerations: 3\n",
        "nested": b"a: " + b"[" * 50_000,
        "million digits": whole + b"seed: " + b"9" * 900_000 + b"\n",
        "11 MB": b"a: b\n" * 2_200_000,
        "two documents": whole + b"---\nname: y\n",
        "half a character": whole.replace(b"noun: question", b'noun: "\\ud800"'),
        "UTF-16": SPEC.encode("utf-16"),
        "NUL": whole + b"x: \x00\n",
        "wrong types": whole.replace(b"steps: 3", b"steps: [3]"),
    }


@dataclass(frozen=True)
class Checked:
    code: int
    said: str
    seconds: float
    peak_mb: float


def validate(path: Path) -> Checked:
    """`harness validate` on a file, in a process of its own."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "validate", path.name],
        cwd=path.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Checked(process.returncode, said, time.monotonic() - began, usage.ru_maxrss / 1024)


def yaml_files(options: Options) -> Sequence[Row]:
    """Row 19."""
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "items.csv").write_text("text,label\nwho ?,HUM\n")
    good = options.work / "good.yaml"
    good.write_text(SPEC)
    plain = validate(good)
    found: dict[str, Checked] = {}
    for number, (name, data) in enumerate(bad_files().items()):
        path = options.work / f"bad{number}.yaml"
        path.write_bytes(data)
        found[name] = validate(path)
    refused = [name for name, one in found.items() if one.code == 2 and "Traceback" not in one.said]
    # Of a file that is too large no line is to blame.
    lined = [name for name, one in found.items() if re.search(r"bad\d+\.yaml:\d+:", one.said)]
    made = list(options.work.rglob("PWNED"))
    slowest, largest = max(one.seconds for one in found.values()), max(one.peak_mb for one in found.values())
    figure = (
        f"refused with one message {len(refused)} of {len(found)}, {len(lined)} of them with the line; code run "
        f"{len(made)}; slowest {slowest:.1f} s, peak {largest:.0f} MB (a good file: {plain.seconds:.1f} s, "
        f"{plain.peak_mb:.0f} MB)"
    )
    held = plain.code == 0 and len(refused) == len(found) and len(lined) >= len(found) - 1 and not made
    held = held and slowest < LONGEST_S and largest < plain.peak_mb + 200
    missing = sorted(set(found) - set(refused)) + [f"no line: {name}" for name in found if name not in lined]
    return [
        Row(
            19,
            "YAML that is a bomb, runs code, or is wrong",
            len(found),
            held,
            figure + f" ({', '.join(missing)})" * bool(missing),
            options.seed,
        )
    ]


class Payload:
    """What pickle runs while it loads."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self._path, "w"))


def lies() -> dict[str, bytes]:
    """Name → bytes of a safetensors file whose header says what is not so."""

    def file(header: object, body: bytes = b"\0" * 64, length: int | None = None) -> bytes:
        text = json.dumps(header).encode() if not isinstance(header, bytes) else header
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def tensor(begin: int, end: int, shape: Sequence[int] = (4,)) -> dict[str, object]:
        return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}

    return {
        "header of 2^60 bytes": file({}, length=2**60),
        "header of 2^63 bytes": file({}, length=2**63),
        "overlapping tensors": file({"a": tensor(0, 16), "b": tensor(8, 24)}),
        "offsets beyond the file": file({"a": tensor(0, 2**40)}),
        "offsets backwards": file({"a": tensor(16, 0)}),
        "shape of 2^62": file({"a": tensor(0, 16, [2**31, 2**31])}),
        "shape overflows": file({"a": tensor(0, 16, [2**62, 4])}),
        "header no JSON": file(b"{" * 100),
        "header nested": file(b'{"a":' * 20_000),
        "empty": b"",
        "seven bytes": b"\1" * 7,
    }


LOAD = """
import resource, sys
from pathlib import Path
from harness.train.checkpoint import read_checkpoint
from harness.errors import HarnessError
import torch
parameter = torch.nn.Parameter(torch.zeros(4))
optimiser = torch.optim.AdamW([parameter])
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_checkpoint(path, "key", optimiser)
    except HarnessError as error:
        print("refused", path.name)
    else:
        print("TAKEN", path.name)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def weights(options: Options) -> Sequence[Row]:
    """Row 20: headers that lie, as a checkpoint; pickles in the place of an adapter."""
    import pickle

    place, marker = options.work / "lies", options.work / "PWNED"
    place.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(lies().values()):
        (place / f"{number:02}.safetensors").write_bytes(data)
    (place / "90.safetensors").write_bytes(pickle.dumps(Payload(marker)))
    said = python("-c", LOAD, str(place))
    refused, taken = said.count("refused"), said.count("TAKEN")
    adapter = options.work / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    for name in ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin", "head.pt"):
        (adapter / name).write_bytes(pickle.dumps(Payload(marker)))
    code = (
        "import sys\nfrom pathlib import Path\nfrom torch import nn\nfrom harness.errors import DataError\n"
        "from harness.train.adapt import read_adapters\n"
        "try:\n    read_adapters(nn.Sequential(nn.Linear(2, 2)), Path(sys.argv[1]))\n"
        "except DataError as error:\n    print('refused')\n"
    )
    pickled = python("-c", code, str(adapter))
    shutil.rmtree(adapter)
    n = len(lies()) + 2
    peak = re.search(r"peak (\d+)", said)
    figure = (
        f"code run {int(marker.exists())}; refused with a message {refused + ('refused' in pickled)} of {n}, "
        f"taken {taken}; peak {peak[1] if peak else '?'} MB, torch included"
    )
    held = not marker.exists() and refused == n - 1 and not taken and "refused" in pickled
    return [Row(20, "weights that are pickles, and safetensors whose headers lie", n, held, figure, options.seed)]

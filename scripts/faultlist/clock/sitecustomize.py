"""A clock on the wall that jumps, for a process that has this folder in its PYTHONPATH.

Python loads this module when it starts. The file named by FAULTS_CLOCK holds seconds to add to the clock and a time
zone, `-3600 Europe/Berlin`; whoever writes it makes the clock of the running process jump. Clocks that only count
(`time.monotonic`) are left alone, as they are by a real jump.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import time
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["FAULTS_CLOCK"])
_TIME, _TIME_NS = time.time, time.time_ns


def _shift() -> float:
    try:
        seconds, zone = _FILE.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        # Not written yet, or being written.
        return 0.0
    if os.environ.get("TZ") != zone:
        os.environ["TZ"] = zone
        time.tzset()
    return float(seconds)


def _time() -> float:
    return _TIME() + _shift()


def _time_ns() -> int:
    return _TIME_NS() + round(_shift() * 1e9)


def _now(_cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(_time(), tz)


def _utcnow(_cls: type[datetime.datetime]) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(_time(), datetime.UTC).replace(tzinfo=None)


time.time = _time
time.time_ns = _time_ns
# A class that stood in for this one would break extensions that know it by its address, so it is changed in place.
_names: dict[str, Any] = gc.get_referents(datetime.datetime.__dict__)[0]
_names |= {"now": classmethod(_now), "utcnow": classmethod(_utcnow)}
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))

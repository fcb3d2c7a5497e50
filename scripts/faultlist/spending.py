"""Row 35: budgets in calls, tokens, money and minutes, over kills, roles, and processes side by side on one store."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from endpoint import good
from trial_cases import answer

from faultlist.asker import Told, Wish, start, told_by
from faultlist.course import kill_after
from faultlist.row import Options, Row
from faultlist.trial import SPEC, Desk, Trial, mlflow_template, tenant_of

IN_FLIGHT = 4
CALLS = 200
CAPS: dict[str, float] = {"calls": 40, "tokens": 1_200, "usd": 0.002}
USED: dict[str, float] = {"calls": 1, "tokens": 15, "usd": 10 / 1e6 + 5 * 2 / 1e6}
"""What a call takes: the scripted endpoint says 10 + 5 tokens, and the clients' price is 1 and 2 $ for a million."""
KILLED_AFTER = (12, 24)
"""Answers after which the process of a capped run is killed."""
DELAY_S = 0.03
WORK_S = 4.0
"""What `minutes` allow, in seconds."""
LATE_S = 1.0
"""A call that went out in time may arrive so much later."""


@dataclass(frozen=True)
class Whole:
    """A `harness run` with both roles that was killed once: calls that it made, and how its second start ended."""

    came: int
    killed: bool
    code: int


def measure(options: Options) -> Sequence[Row]:
    """Each cap over two kills and a repeat; two variants, and one run twice, at once; a whole run, killed once."""
    with Desk(good(), DELAY_S) as desk:
        over = {cap: resumed(options, desk, cap) for cap in CAPS}
        variants = side_by_side(options, desk, ("a", "b"))
        (twice,) = side_by_side(options, desk, ("c", "c"))
        seconds = timed(options, desk)
    with Desk(answer) as desk:
        whole = whole_run(options, desk)
    return [row(over, variants, twice, seconds, whole, options.seed)]


def row(over: Mapping[str, float], variants: Sequence[int], twice: int, seconds: float, whole: Whole, seed: int) -> Row:
    """`over` are calls beyond each cap, `seconds` how long calls went out, the others calls that were made."""
    kills, cap = len(KILLED_AFTER), int(CAPS["calls"])
    held = all(0 <= most <= kills * IN_FLIGHT for most in over.values())
    # Too few would be no hard stop but a run that never came to it.
    held = held and all(made == cap for made in variants) and cap <= twice <= cap + IN_FLIGHT
    held = held and 0 < seconds <= WORK_S + LATE_S
    held = held and whole.killed and whole.code in (0, 2) and cap <= whole.came <= cap + 2 * IN_FLIGHT
    figure = (
        f"calls beyond the cap after {kills} kills with up to {IN_FLIGHT} in flight: "
        + ", ".join(f"{name} {most:.0f}" for name, most in over.items())
        + f"; two variants at once made {' and '.join(map(str, variants))} of {cap} each; one run started twice at "
        f"once made {twice} of {cap}; calls went out for {seconds:.1f} of {WORK_S:g} s of work in two processes; "
        f"a whole run, killed once, made {whole.came} of {cap} and ended with exit code "
        f"{whole.code}"
    )
    fault = "a budget in calls, tokens, money or minutes that runs out"
    return Row(35, fault, len(CAPS) + 4, held, figure, seed)


def resumed(options: Options, desk: Desk, cap: str) -> float:
    """Calls that the endpoint got beyond what the cap pays for; -1 where the budget stopped nothing, or where the same
    command asked again after the stop."""
    wish = _wish(options, desk, cap, f"store-{cap}")
    for answers in KILLED_AFTER:
        _kill(start(wish, cap), desk, cap, answers)
    stopped = told_by(start(wish, cap))
    came = _came(desk, cap)
    again = told_by(start(wish, cap))
    if not (_is_stop(stopped) and _is_stop(again)) or _came(desk, cap) != came:
        return -1
    return max(0.0, came - CAPS[cap] / USED[cap])


def side_by_side(options: Options, desk: Desk, scopes: Sequence[str]) -> list[int]:
    """Calls that each of the scopes made while both ran on one store; one number where both are the same run, which
    asks the same in the same order."""
    store = f"store-{'-'.join(scopes)}"
    names = list(dict.fromkeys(scopes))
    running = [
        start(_wish(options, desk, "calls", store, scope, CALLS * names.index(scope)), scope) for scope in scopes
    ]
    for process in running:
        told_by(process)
    return [_came(desk, scope) for scope in names]


def timed(options: Options, desk: Desk) -> float:
    """Seconds in which calls of a run arrived whose minutes ran out, a first process of it that was killed included;
    -1 where nothing stopped it, or where the same command asked again after the stop."""
    wish = replace(_wish(options, desk, "calls", "store-minutes", "minutes"), calls=10 * CALLS, tell=False)
    wish = replace(wish, budget={"minutes": WORK_S / 60})
    _kill(start(wish, "minutes"), desk, "minutes", KILLED_AFTER[-1])
    first = [one.at for one in desk.delivered("minutes")]
    stopped = told_by(start(wish, "minutes"))
    at = [one.at for one in desk.delivered("minutes")]
    again = told_by(start(wish, "minutes"))
    if not (_is_stop(stopped) and _is_stop(again)) or len(desk.delivered("minutes")) != len(at) or at == first:
        return -1
    return max(first) - min(first) + max(at) - min(at[len(first) :])


def whole_run(options: Options, desk: Desk) -> Whole:
    cap = int(CAPS["calls"])
    trial = Trial(options.work / "whole", desk, "whole", f"{SPEC}budget: {{calls: {cap}}}\n")
    trial.with_database(mlflow_template(options.root / "template"))
    killed = kill_after(trial, trial.start(), f"call {cap // 2}", 0.0)
    code = trial.run()
    return Whole(_came(desk, trial.tenant), killed, code)


def _wish(options: Options, desk: Desk, cap: str, store: str, scope: str = "run", first: int = 0) -> Wish:
    return Wish(
        desk.url,
        str(options.work / store),
        CALLS,
        first=first,
        roles=("generator", "judge"),
        scope=scope,
        limits={"concurrency": IN_FLIGHT // 2},
        budget={cap: CAPS[cap]},
        tell=False,
    )


def _kill(process: subprocess.Popen[str], desk: Desk, tenant: str, answers: int) -> None:
    while len(desk.delivered(tenant)) < answers and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()


def _came(desk: Desk, tenant: str) -> int:
    return sum(tenant_of(call) == tenant for call in desk.calls)


def _is_stop(told: Told) -> bool:
    return told.error.startswith("BudgetError")

"""Rows 1–3 and 27: SIGKILL at random points of whole runs, and what is there after the restart."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from faultlist.course import STAGES, Event, Undisturbed, kill_after, look, undisturbed
from faultlist.row import Options, Row
from faultlist.trial import Trial, differences

SETTLED_S = 1.0
"""An answer that was delivered so long before the kill was received; a later one may still have been in flight."""
TIMES = 3
FINISHED_S = 2.0


@dataclass
class Chain:
    """One store whose runs were killed again and again until one came to its end."""

    stages: list[str] = field(default_factory=list[str])
    """What was being worked on at each kill."""
    redone: int = 0
    """Artefacts that were there at a kill and were made anew."""
    lost: int = 0
    """Answers that had been received and were asked for again."""
    in_flight: int = 0
    """Answers asked for again that had been delivered less than a second before the kill."""
    delivered: int = 0
    uncached: int = 0
    other: list[str] = field(default_factory=list[str])
    """Files that differ from those of the undisturbed run."""
    orphans: int = 0
    same_view: bool = True
    failed: str = ""


def measure(options: Options) -> Sequence[Row]:
    plain = undisturbed(options.root)
    again = [timed_again(plain.trial) for _ in range(TIMES)]
    return rows(options, run_chains(options, plain), max(again))


def timed_again(trial: Trial) -> float:
    """Seconds of the same command on a finished run."""
    began = time.monotonic()
    trial.finished()
    return time.monotonic() - began


def run_chains(options: Options, plain: Undisturbed) -> list[Chain]:
    count = -(-options.kills // options.per_run)
    sizes = [min(options.per_run, options.kills - number * options.per_run) for number in range(count)]

    def one(number: int) -> Chain:
        chance = random.Random(f"{options.seed}/{number}")
        where = points(plain.course, sizes[number], number * options.per_run, chance)
        return follow(plain.twin(options.work / f"chain{number}"), where, plain)

    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(one, range(count)))


def points(course: Sequence[Event], size: int, first: int, chance: random.Random) -> list[tuple[int, float]]:
    """Where to kill, in the order of the run: (place of an event, share of the time to the next one). Stages take
    turns, so that each is hit about as often as any other, whatever its length."""
    chosen: set[int] = set()
    for turn in range(size):
        stage = STAGES[(first + turn) % len(STAGES)]
        places = [place for place in range(len(course) - 1) if course[place + 1].stage == stage and place not in chosen]
        chosen.add(chance.choice(places))
    return [(place, chance.random()) for place in sorted(chosen)]


def follow(trial: Trial, where: Sequence[tuple[int, float]], plain: Undisturbed) -> Chain:
    """Kill at each of the points, then let the run end, then compare."""
    chain, moments, made = Chain(), list[float](), dict[str, tuple[int, int]]()
    for place, share in where:
        event, after = plain.course[place], plain.course[place + 1]
        if not kill_after(trial, trial.start(), event.name, share * (after.at - event.at)):
            continue
        moments.append(time.monotonic())
        chain.stages.append(stage_now(trial, plain.course))
        now = trial.artefacts()
        chain.redone += changed(made, now)
        made = now
    if trial.run():
        chain.failed = trial.said[-2000:]
        return chain
    chain.redone += changed(made, trial.artefacts())
    compare(chain, trial, plain.trial, moments)
    return chain


def stage_now(trial: Trial, course: Sequence[Event]) -> str:
    """The stage that is not finished yet."""
    seen = look(trial)
    return next(event.stage for event in course if not seen.has(event.name))


def changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> int:
    return sum(after.get(name) != file for name, file in before.items())


def compare(chain: Chain, trial: Trial, reference: Trial, moments: Sequence[float]) -> None:
    chain.other = differences(reference.contents(), trial.contents())
    deliveries = trial.desk.delivered(trial.tenant)
    chain.delivered = len({one.key for one in deliveries})
    chain.uncached = len({one.key for one in deliveries} - trial.cached_keys())
    first: dict[str, float] = {}
    for one in deliveries:
        if one.key not in first:
            first[one.key] = one.at
            continue
        kill = min((moment for moment in moments if moment > first[one.key]), default=one.at)
        if kill - first[one.key] >= SETTLED_S:
            chain.lost += 1
        else:
            chain.in_flight += 1
    view = trial.tracked()
    chain.orphans = view["RUNNING", "active"]
    chain.same_view = {key: n for key, n in view.items() if key[1] == "active"} == reference.tracked()


def rows(options: Options, chains: Sequence[Chain], finished: float) -> list[Row]:
    hits = Counter(stage for chain in chains for stage in chain.stages)
    broken = [chain.failed for chain in chains if chain.failed]
    same = sum(not chain.failed and not chain.other for chain in chains)
    files = sorted({name for chain in chains for name in chain.other})[:3]
    end = f"{same} of {len(chains)} runs end with every artefact byte-identical, report too"
    end += f" (differ: {', '.join(files)})" if files else ""
    end += f" (failed: {broken[0][-200:]})" if broken else ""
    all_same = same == len(chains)
    lost, in_flight, uncached, redone, orphans = (
        sum(getattr(chain, name) for chain in chains) for name in ("lost", "in_flight", "uncached", "redone", "orphans")
    )
    asked = sum(chain.delivered for chain in chains)
    others = sum(hits.values()) - hits["generation"] - hits["training"]
    spread = ", ".join(f"{stage} {hits[stage]}" for stage in sorted(hits) if stage not in ("generation", "training"))
    row = Row(0, "", 0, held=True, figure="", seed=options.seed)
    found = [
        replace(
            row,
            number=1,
            fault="SIGKILL during generation, then the same command",
            n=hits["generation"],
            held=all_same and lost == uncached == 0,
            figure=f"received answers lost {lost} of {asked:,}, not in the cache {uncached}, asked again because in "
            f"flight {in_flight} (after all {sum(hits.values())} kills); {end}",
        ),
        replace(
            row,
            number=2,
            fault="SIGKILL during training",
            n=hits["training"],
            held=all_same and not redone,
            figure=f"finished stages made anew {redone}; adapters, predictions and scores identical; {end}",
        ),
        replace(
            row,
            number=3,
            fault=f"SIGKILL elsewhere ({spread})",
            n=others,
            held=all_same and not redone and finished <= FINISHED_S,
            figure=f"finished stages made anew {redone}; the command on a finished run takes {finished:.1f} s at most "
            f"({TIMES} times); {end}",
        ),
        replace(
            row,
            number=27,
            fault="MLflow runs left RUNNING by kills",
            n=hits["tracking"],
            held=not orphans and not broken and all(chain.same_view for chain in chains),
            figure=f"runs left RUNNING {orphans}, stores whose view differs from the undisturbed one "
            f"{sum(not chain.same_view for chain in chains)}",
        ),
    ]
    # Where no kill hit, nothing was tried.
    return [one for one in found if one.n or broken]

"""Items → roles, so that a group never sits on two sides of the split.

The order of every draw is the sha256 of seed and id. So it depends on neither the order of the rows nor on a library's
random generator.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.clean import Item
from harness.errors import DataError, LeakageError
from harness.grouping import Grouping
from harness.records import Role
from harness.spec import Split

HELD_OUT = (Role.TEST, Role.DEV, Role.ANCHOR)
"""In the order in which they are drawn."""
LARGE_GROUP = 0.1
"""A group that would make up more than this share of a role is placed there only if the smaller ones do not fill it."""
RECOMMENDED = {Role.TEST: 500, Role.DEV: 200, Role.ANCHOR: 100, Role.SEEDS: 50}
FEW_PER_LABEL = 10
SEEDS_AT_LEAST = 0.4
"""Share of too few items that a suggested split gives to the seeds, if they want so many."""
NEAR_SEED = "near duplicate or group-mate of a seed"
CUT = "rest of a group that was too large for its role"
NOT_NEEDED = "not needed for the sizes asked for"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Positions of each role's items, what was left out, and what a reader of the numbers has to know."""

    roles: Mapping[Role, tuple[int, ...]]
    dropped: Mapping[str, int]
    warnings: tuple[str, ...]


def draw(items: Sequence[Item], groups: Grouping, sizes: Split, seed: int) -> Drawn:
    """Give every role its items. Raises `DataError` when there are too few.

    Test, dev and anchor come first, whole groups in random order, so they keep the source's own shares of labels; only
    where a label is scarce are some of its items kept back for the seeds. Then the seeds, one item per near-duplicate
    group; what is near a seed or shares its group is left out. The pool gets what it needs of the rest.
    """
    wanted = sizes_of(sizes)
    check_sizes(wanted, len(items))
    drawing = _Drawing(items, groups, sizes, seed)
    for role in HELD_OUT:
        drawing.fill(role, wanted[role])
    drawing.fill_seeds()
    drawing.fill(Role.POOL, wanted[Role.POOL])
    roles = {role: tuple(drawing.roles[role]) for role in Role}
    if any(len(roles[role]) < wanted[role] for role in Role):
        raise DataError(_short(wanted, roles, drawing))
    check_apart(items, groups, roles)
    dropped = {NEAR_SEED: drawing.near_seeds, CUT: drawing.cut, NOT_NEEDED: sum(map(len, drawing.free.values()))}
    return Drawn(roles, dropped, (*drawing.warnings, *size_warnings(wanted), *_scarce_labels(items, roles[Role.TEST])))


def check_apart(items: Sequence[Item], groups: Grouping, roles: Mapping[Role, Sequence[int]]) -> None:
    """Raises `LeakageError` if a text or a group sits in two roles, which `draw` rules out by construction."""
    owner: dict[tuple[str, object], Role] = {}
    for role, positions in roles.items():
        for i in positions:
            for mark in (("text", items[i].key), ("group", groups.whole[i])):
                if (other := owner.setdefault(mark, role)) is not role:
                    raise LeakageError(
                        f"the item {items[i].id!r} of the role {role} shares its {mark[0]} with an item of {other}. "
                        "This is a defect of the split: report it, and do not use these numbers."
                    )


def minimum_detectable(n: int) -> float:
    """Smallest paired difference that n items show, in points: 280·√(.10/n).

    At 80 % power, two-sided .05 and 10 % discordant answers.

    >>> round(minimum_detectable(500), 1)
    4.0
    """
    return 280 * math.sqrt(0.10 / n)


class _Drawing:
    """The state of a draw. `free[g]` holds the members of a group that has no role yet; groups in drawing order."""

    def __init__(self, items: Sequence[Item], groups: Grouping, sizes: Split, seed: int) -> None:
        self.items, self.groups, self.sizes = items, groups, sizes
        members: defaultdict[int, list[int]] = defaultdict(list)
        first_of_near: dict[int, int] = {}
        for i in sorted(range(len(items)), key=lambda i: items[i].id):
            members[groups.whole[i]].append(i)
            first_of_near.setdefault(groups.near[i], i)
        # One fixed member stands for a group: with the best rank of all members, large groups would be drawn early.
        # And the seeds have an order of their own: otherwise they would take what the pool would get of a rare label.
        order = _ranks(items, f"{seed}|roles")
        self.seed_rank = _ranks(items, f"{seed}|seeds")
        self.free = {whole: members[whole] for whole in sorted(members, key=lambda w: order[members[w][0]])}
        self.seedable = set(first_of_near.values())
        self.labels = Counter(items[i].label for i in self.seedable)
        self.left = Counter(self.labels)
        self.keep = self._kept_back()
        self.roles: dict[Role, list[int]] = {role: [] for role in Role}
        self.near_seeds = 0
        self.cut = 0
        self.largest = max(map(len, self.free.values()))
        self.warnings: list[str] = []
        if self.largest > max(10, LARGE_GROUP * len(items)):
            self.warnings.append(
                f"data: {self.largest} of {len(items)} items hang together as one group (near duplicates, or one "
                f"value of data.columns.group). If they do differ, raise data.split.near_duplicate "
                f"({sizes.near_duplicate})."
            )

    def _kept_back(self) -> dict[str, int]:
        """How many items of each label the held-out roles leave for the seeds: an even share, at most half of them."""
        keep = dict.fromkeys(sorted(self.labels), 1)
        while self.sizes.balance_seeds and sum(keep.values()) < self.sizes.seeds:
            open_labels = [label for label in keep if keep[label] < self.labels[label] // 2]
            if not open_labels:
                break
            keep[min(open_labels, key=lambda label: (keep[label], label))] += 1
        return keep

    def fill(self, role: Role, size: int) -> None:
        """Whole groups in drawing order while they fit; large ones only if the smaller ones do not suffice; at last
        what is still missing from a group that is too large, whose other members then go nowhere."""
        usual = max(1, int(size * LARGE_GROUP))
        for limit in (usual, size):
            for whole in list(self.free):
                if len(self.free[whole]) <= min(limit, size - len(self.roles[role])) and self._may_take(whole, role):
                    self._take(whole, role, limit)
        for whole in sorted(self.free, key=lambda w: len(self.free[w])):
            if (need := size - len(self.roles[role])) and self._may_take(whole, role):
                self._take(whole, role, need)
        biggest = max(Counter(self.groups.whole[i] for i in self.roles[role]).values(), default=0)
        if biggest > usual and role in HELD_OUT:
            self.warnings.append(
                f"{role}: one group of near duplicates (or one value of data.columns.group) makes up {biggest} of its "
                f"{size} items, so its score rests on few sources."
            )

    def _take(self, whole: int, role: Role, most: int) -> None:
        members = self.free.pop(whole)
        self.roles[role] += members[:most]
        self.cut += len(members[most:])
        self.left.subtract(self._seedable_labels(members))

    def _may_take(self, whole: int, role: Role) -> bool:
        if role is Role.POOL:
            return True
        counts = self._seedable_labels(self.free[whole])
        return all(self.left[label] - count >= self.keep[label] for label, count in counts.items())

    def _seedable_labels(self, members: Sequence[int]) -> Counter[str]:
        return Counter(self.items[i].label for i in members if i in self.seedable)

    def fill_seeds(self) -> None:
        """One item per near-duplicate group; whoever shares a group with a seed goes before others of the label."""
        queues: defaultdict[str, deque[int]] = defaultdict(deque)
        for i in sorted((i for members in self.free.values() for i in members), key=self.seed_rank.__getitem__):
            if i in self.seedable:
                queues[self.items[i].label].append(i)
        counts: Counter[str] = Counter()
        opened = 0
        while len(self.roles[Role.SEEDS]) < self.sizes.seeds and (label := self._next_label(queues, counts)):
            seed = queues[label].popleft()
            self.roles[Role.SEEDS].append(seed)
            counts[label] += 1
            for mate in self.free.pop(self.groups.whole[seed], ()):
                opened += 1
                if mate in self.seedable and mate != seed:
                    queues[self.items[mate].label].remove(mate)
                    queues[self.items[mate].label].appendleft(mate)
        self.near_seeds = opened - len(self.roles[Role.SEEDS])
        self._warn_of_uneven(counts)

    def _next_label(self, queues: Mapping[str, deque[int]], counts: Counter[str]) -> str | None:
        """Balanced: the label with the fewest seeds; beyond half of a label only when every label has given half.
        Else: the next item in drawing order, after one of each label."""

        def key(label: str) -> tuple[bool, int, str]:
            if not self.sizes.balance_seeds:
                return counts[label] > 0, 0, self.seed_rank[queues[label][0]]
            spent = counts[label] >= max(1, self.labels[label] // 2)
            return spent, -len(queues[label]) if spent else counts[label], label

        return min((label for label in sorted(queues) if queues[label]), key=key, default=None)

    def _warn_of_uneven(self, counts: Counter[str]) -> None:
        even = self.sizes.seeds // len(self.labels)
        for label in sorted(self.labels):
            if not counts[label]:
                self.warnings.append(f"seeds: no item of {label!r} could be drawn; nothing will be generated from it.")
            elif self.sizes.balance_seeds and counts[label] < even:
                self.warnings.append(
                    f"seeds: {counts[label]} of {label!r} instead of {even}: it has {self.labels[label]} distinct "
                    "items, and no more than half of a rare label become seeds, so that some are left to test on."
                )


def _ranks(items: Sequence[Item], salt: str) -> list[str]:
    return [hashlib.sha256(f"{salt}|{item.id}".encode()).hexdigest() for item in items]


def sizes_of(split: Split) -> dict[Role, int]:
    """How many items each role is to have."""
    return {role: int(getattr(split, role)) for role in Role}


def check_sizes(wanted: Mapping[Role, int], available: int) -> None:
    """Raise `DataError` where the roles ask for more items than there are, with sizes that would fit."""
    total = sum(wanted.values())
    if total <= available:
        return
    listed = ", ".join(f"{role} {size}" for role, size in wanted.items())
    # What trains and prompts shrinks less than what measures: ten seeds teach nothing, whatever is measured on.
    seeds = min(wanted[Role.SEEDS], math.floor(SEEDS_AT_LEAST * available))
    rest = (available - seeds) / max(1, total - wanted[Role.SEEDS])
    sizes = {role: seeds if role is Role.SEEDS else math.floor(size * rest) for role, size in wanted.items()}
    fitting = ", ".join(f"{role}: {size}" for role, size in sizes.items())
    shows = f"So many test items show differences from {minimum_detectable(sizes[Role.TEST]):.0f} points on"
    raise DataError(
        f"data.split asks for {total:,} items ({listed}), but the data has {available:,} distinct ones. Add rows, or "
        f"set lower sizes, e.g. `split: {{{fitting}}}`. {shows if sizes[Role.TEST] else 'So few can test nothing'}."
    )


def _short(wanted: Mapping[Role, int], roles: Mapping[Role, Sequence[int]], drawing: _Drawing) -> str:
    listed = ", ".join(f"{role} {len(roles[role])} of {size}" for role, size in wanted.items())
    return (
        f"data.split asks for more than can be drawn when groups stay on one side: {listed}. {drawing.near_seeds} "
        f"items are near duplicates or group-mates of seeds, and the largest group holds {drawing.largest}. Add rows, "
        f"lower the sizes in data.split, or raise data.split.near_duplicate ({drawing.sizes.near_duplicate})."
    )


def size_warnings(sizes: Mapping[Role, int]) -> list[str]:
    """A sentence per role that is smaller than advised; of those that measure, with what they can show."""
    return [
        f"{role}: {sizes[role]} items; {least} or more are advised."
        + (
            f" Two models on the same items differ measurably from {minimum_detectable(sizes[role]):.1f} points on "
            "(80 % power, 10 % discordant answers)."
            if role in (Role.TEST, Role.DEV)
            else ""
        )
        for role, least in RECOMMENDED.items()
        if sizes[role] < least
    ]


def _scarce_labels(items: Sequence[Item], test: Sequence[int]) -> list[str]:
    counts = Counter(items[i].label for i in test)
    scarce = {label: counts[label] for label in sorted({item.label for item in items}) if counts[label] < FEW_PER_LABEL}
    listed = ", ".join(f"{label!r} {count}" for label, count in scarce.items())
    return [f"test: fewer than {FEW_PER_LABEL} items of {listed}; nothing sure can be said of them."] if scarce else []

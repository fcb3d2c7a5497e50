"""What an artefact was made of: its ancestors as a tree, the runs it belongs to, and what is damaged on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import ValidationError

from harness.errors import StoreError
from harness.loop import REPORT
from harness.plaintext import printable
from harness.reports import RunReport
from harness.store import MANIFEST, Manifest, Store, read_json
from harness.summaries import run_title, summary

DERIVED = ("probabilities", "evaluation")
"""Stages that nothing need descend from: one of them belongs to a run when all that it was made of does."""
GONE = "not in this store: it was deleted, or made in another one"


@dataclass(frozen=True, slots=True)
class Node:
    """An artefact or an example of it. `link` is what its child calls it ("split", "wave 0"), `facts` are (name, text)
    pairs, `repeated` says that its parents are shown elsewhere in the tree, `damaged` names files with wrong bytes.

    All text is `printable`; markup in it is not escaped.
    """

    id: str
    stage: str
    summary: str
    link: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    children: tuple[Node, ...] = ()
    repeated: bool = False
    damaged: tuple[str, ...] = ()


def make_node(
    ident: str,
    stage: str,
    words: str,
    *,
    facts: Sequence[tuple[str, str]] = (),
    children: Sequence[Node] = (),
    link: str = "",
) -> Node:
    """A node with every text made printable."""
    safe = tuple((printable(name), printable(text)) for name, text in facts)
    return Node(printable(ident), stage, printable(words), printable(link), safe, tuple(children))


class Shelf:
    """A store as its artefacts' relations: manifests, runs and who belongs to whom, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._manifests: dict[str, Manifest | None] = {}
        self._damaged: dict[str, tuple[str, ...]] = {}

    def manifest(self, ident: str) -> Manifest | None:
        """None where the artefact is gone or its manifest is damaged."""
        if ident not in self._manifests:
            try:
                self._manifests[ident] = self.store.manifest(ident) if ident in self.store else None
            except StoreError:
                self._manifests[ident] = None
        return self._manifests[ident]

    def damaged(self, ident: str) -> tuple[str, ...]:
        """Files of an artefact that are missing or changed."""
        if ident not in self._damaged:
            try:
                self._damaged[ident] = tuple(self.store.damaged(ident))
            except StoreError:
                self._damaged[ident] = (MANIFEST,)
        return self._damaged[ident]

    @cached_property
    def runs(self) -> Mapping[str, RunReport]:
        """The finished runs whose report can be read, oldest first."""
        found: dict[str, RunReport] = {}
        for ident in self.store.ids("run"):
            report = self.report(ident)
            if report is not None:
                found[ident] = report
        return dict(sorted(found.items(), key=lambda item: (item[1].started, item[0])))

    def report(self, ident: str) -> RunReport | None:
        try:
            return read_json(self.store.find(ident) / REPORT, RunReport)
        except (OSError, ValidationError):
            return None

    @cached_property
    def members(self) -> Mapping[str, frozenset[str]]:
        """Run → ids of all artefacts that its report names, and of all their ancestors."""
        return {run: self._closure(_named(report)) for run, report in self.runs.items()}

    def _closure(self, roots: Sequence[str]) -> frozenset[str]:
        seen: set[str] = set()
        open_ = list(roots)
        while open_:
            ident = open_.pop()
            if ident not in seen:
                seen.add(ident)
                manifest = self.manifest(ident)
                open_ += list(manifest.parents.values()) if manifest else []
        return frozenset(seen)

    def runs_of(self, ident: str) -> list[str]:
        """Ids of the finished runs that an artefact belongs to, oldest first."""
        manifest = self.manifest(ident)
        parents = set(manifest.parents.values()) if manifest and manifest.stage in DERIVED else set[str]()
        return [run for run, members in self.members.items() if ident in members or (parents and parents <= members)]

    def belongs(self, *idents: str) -> tuple[str, str]:
        """The fact that names the runs of these artefacts."""
        runs = dict.fromkeys(run for ident in idents for run in self.runs_of(ident))
        return "belongs to", ", ".join(f"{run} ({run_title(self.runs[run])})" for run in runs) or "no finished run"

    def parents(self, ident: str) -> Mapping[str, str]:
        """Link → parent. A run's are the artefacts that its report names."""
        if ident.startswith("run-"):
            report = self.report(ident)
            return dict(report.artefacts) if report else {}
        manifest = self.manifest(ident)
        return dict(manifest.parents) if manifest else {}


def _named(report: RunReport) -> list[str]:
    own = [one for each in report.rounds for one in (each.plan_id, each.dataset, *each.adapters.values())]
    return [*report.artefacts.values(), *own]


def artefact_tree(shelf: Shelf, ident: str, seen: set[str] | None = None) -> Node:
    """The artefact and its ancestors, each expanded once; the root says which runs it belongs to.

    `seen` holds what another tree beside this one has expanded already; it grows.
    """
    root = _expand(shelf, ident, "", set() if seen is None else seen)
    if root.stage == "run":
        return root
    name, text = shelf.belongs(ident)
    return replace(root, facts=((name, printable(text)), *root.facts))


def _expand(shelf: Shelf, ident: str, link: str, seen: set[str]) -> Node:
    stage = ident.rsplit("-", 1)[0]
    manifest = shelf.manifest(ident)
    if manifest is None:
        node = make_node(ident, stage, "its manifest cannot be read" if ident in shelf.store else GONE, link=link)
        return replace(node, damaged=(MANIFEST,)) if ident in shelf.store else node
    artefact = shelf.store.find(ident)
    node = replace(make_node(ident, stage, summary(artefact, manifest), link=link), damaged=shelf.damaged(ident))
    if ident in seen:
        return replace(node, repeated=bool(shelf.parents(ident)))
    seen.add(ident)
    children = [_expand(shelf, parent, name, seen) for name, parent in shelf.parents(ident).items()]
    seed = [] if manifest.seed is None else [("seed", str(manifest.seed))]
    return replace(node, facts=tuple(seed), children=tuple(children))

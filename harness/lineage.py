"""`harness show`: where an artefact or a single example comes from, and which runs there are.

Everything here is plain data with printable text; the command line draws it (and escapes its own markup).
"""

from __future__ import annotations

from harness.errors import StoreError
from harness.exampletrace import is_example, trace
from harness.provenance import Node, Shelf, artefact_tree
from harness.runlist import runs
from harness.store import Store
from harness.summaries import run_title

__all__ = ["Node", "ancestry", "runs"]

LOOK = (
    "Ids look like 'run-0123456789abcdef' (an artefact: run, evaluation, adapter, dataset, verdicts, candidates, plan, "
    "split), 'syn-0123456789ab' (a synthetic example) or 'real-0123456789ab' (a real one); a beginning that fits only "
    "one of them is enough."
)


def ancestry(store: Store, ident: str) -> Node:
    """The tree above an artefact, each ancestor expanded once; of a synthetic example its verdicts, prompt and seeds.

    `ident` may be the beginning of an id. Raises `StoreError` where nothing or more than one thing has it.
    """
    shelf = Shelf(store)
    if is_example(ident):
        found = trace(shelf, ident)
        if found is not None:
            return found
        raise _unknown(shelf, ident)
    known = list(store.ids())
    matches = [ident] if ident in known else [other for other in known if ident and other.startswith(ident)]
    if len(matches) == 1:
        return artefact_tree(shelf, matches[0])
    if matches:
        raise StoreError(f"{ident!r} is the beginning of {len(matches)} ids, e.g. {matches[:5]!r}; write more of it.")
    raise _unknown(shelf, ident)


def _unknown(shelf: Shelf, ident: str) -> StoreError:
    titles = [f"{run} ({run_title(report)})" for run, report in shelf.runs.items()]
    known = f"Runs in it: {', '.join(titles[-10:])}." if titles else "There is no finished run in it."
    return StoreError(f"there is nothing with the id {ident[:100]!r} in {str(shelf.store.root)!r}. {LOOK} {known}")

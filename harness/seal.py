"""The sealed test split: its items come out only through an opening that is on record.

The rule. A *look* is a run's opening of test items, known by their content. The first run of a store that opens given
items needs nothing. It may open them again as often as it likes with the same decisions fixed, so a run that was
interrupted goes on and a finished one is read again. Any other run on the same items, whatever was changed in it, is a
further look: what it does differently may have been chosen after seeing test scores. It has to be asked for with a
reason (`harness run --reopen-test REASON`), is refused before anything is spent otherwise, and stands with its reason
in the record, in the run's report and in MLflow. Runs that never open (`evaluate.test: false`, or stopped before) are
no looks.

The seal keeps honest people honest; it is no encryption. What it gives is that no stage can read test items by
accident, and that a report can say how often these very items had been looked at before. It counts one store only, and
a split drawn anew is another split even where it shares items with an old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.errors import LeakageError, StoreError
from harness.openings import append, differences, locked, looks, openings
from harness.records import Example, Origin, Role
from harness.reports import Opening
from harness.store import Store

__all__ = ["HeldOutTexts", "Opened", "Opening", "TestSeal", "openings", "read_examples", "role_file", "write_examples"]

HELD_OUT = (Role.DEV, Role.ANCHOR, Role.TEST)
SHOWN = 3
"""So many earlier looks an error names."""


class Opened(NamedTuple):
    """The test items, and all looks at them up to and with this run's."""

    examples: tuple[Example, ...]
    looks: tuple[Opening, ...]


class TestSeal:
    """Holds the place of the test examples. `split` is the split's artefact id, `sha` the hash of the test items."""

    __test__ = False

    def __init__(self, split: str, sha: str, path: Path) -> None:
        self.split = split
        self.sha = sha
        self._path = path

    def __repr__(self) -> str:
        return f"TestSeal({self.split!r})"

    def check(self, store: Store, run_id: str, reopen: str, identity: Mapping[str, object]) -> None:
        """Before anything is spent: raises `LeakageError` where `open` would refuse this run a further look.

        `identity` is what makes the run, as in its manifest; the error says what of it differs from the last look's.
        """
        before = looks(store, self.sha)
        if before and not reopen and run_id not in {look.run for look in before}:
            raise self._refusal(before, differences(store, before[-1].run, identity))

    def open(self, store: Store, run_id: str, decision_digest: str, reopen: str = "") -> Opened:
        """The test examples, after this run's opening is on record (once, so that a resumed run may call it again).

        `reopen` is the reason for a further look; a first one needs none and keeps none. Raises `LeakageError` for a
        further look without a reason or if this run has opened the items with other decisions fixed, `StoreError` if
        the record cannot be read or written.
        """
        with locked(store):
            before = looks(store, self.sha)
            own = self._permitted(before, run_id, decision_digest, reopen)
            if own is None:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                count, reason = len(before) + 1, reopen if before else ""
                own = Opening(run_id, self.split, self.sha, decision_digest, count, now, reason)
                append(store, own)
                before = (*before, own)
        return Opened(read_examples(self._path), before[: before.index(own) + 1])

    def ask(self, store: Store, run_id: str, decision_digest: str, reopen: str = "") -> None:
        """Raise what `open` would raise, and open nothing."""
        self._permitted(looks(store, self.sha), run_id, decision_digest, reopen)

    def _permitted(self, before: tuple[Opening, ...], run_id: str, decision: str, reopen: str) -> Opening | None:
        """This run's own look among those before, None where it may have its first; raises as `open` does."""
        own = [look for look in before if look.run == run_id]
        for look in own:
            self._same_decision(look, decision)
        if not own and before and not reopen:
            fixed = before[-1].decision
            same = "The models it scored are the same" if fixed == decision else "It scored other models"
            raise self._refusal(before, f"{same} ({fixed[:12] or 'unknown'}…, now {decision[:12]}…)")
        return own[0] if own else None

    def _same_decision(self, look: Opening, decision_digest: str) -> None:
        # A look that is known without its line says nothing of its decisions.
        if look.decision and look.decision != decision_digest:
            raise LeakageError(
                f"the run {look.run!r} opened the test split on {look.at} with other decisions fixed "
                f"({look.decision[:12]}…, now {decision_digest[:12]}…). A choice made after seeing test scores "
                "cannot be reported as this run's. Run it under another name with `--reopen-test REASON`, so that the "
                "record counts two looks, or on other test items (`--set data.split.seed=N`)."
            )

    def _refusal(self, before: tuple[Opening, ...], difference: str) -> LeakageError:
        said = [f"{look.run} ({look.at or 'time not on record'})" for look in before[-SHOWN:]]
        earlier = f"{len(before) - SHOWN} earlier one(s), " if len(before) > SHOWN else ""
        return LeakageError(
            f"the test items of {self.split} were looked at before, by {earlier}{', '.join(said)}. {difference}. "
            "A change made after a look at test scores flatters itself on the same items, so a further look has to be "
            "asked for: `harness run … --reopen-test REASON` writes the reason into the record and the report. Or "
            "draw other test items with `--set data.split.seed=N`, a number not used before. Or leave them sealed: "
            "`--set evaluate.test=false` ends with the scores on dev. That is the way to try things out: compare "
            "variants on dev as often as you like, and open the test split once, with the last one."
        )


class HeldOutTexts:
    """Dev, anchor and test texts, only for the overlap checks of `filters/leakage.py`: candidates are compared with
    them, and nothing else may read them. Answers and contexts are held-out texts too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return "HeldOutTexts()"

    def pairs(self) -> Iterator[tuple[Role, str, str]]:
        """(role, id, text) of every held-out item. For `filters/leakage.py` only."""
        for role in HELD_OUT:
            for example in read_examples(self._folder / role_file(role)):
                yield role, example.id, example.text

    def answers(self) -> Iterator[tuple[Role, str, str]]:
        """(role, id, answer), and once (role, id, context) per context, of every held-out item that has them."""
        for role in HELD_OUT:
            seen: set[str] = set()
            for example in read_examples(self._folder / role_file(role)):
                for text in (example.answer, example.context):
                    if text and text not in seen:
                        seen.add(text)
                        yield role, example.id, text


def role_file(role: Role) -> str:
    return f"{role}.parquet"


def write_examples(path: Path, examples: tuple[Example, ...]) -> None:
    """A parquet file with the columns id, text, label and slices (JSON), and answer and context where there are any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": [example.id for example in examples],
        "text": [example.text for example in examples],
        "label": [example.label for example in examples],
        "slices": [json.dumps(dict(example.slices), ensure_ascii=False) for example in examples],
    }
    if any(example.answer for example in examples):
        columns |= {
            "answer": [example.answer for example in examples],
            "context": [example.context for example in examples],
        }
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)


def read_examples(path: Path) -> tuple[Example, ...]:
    """The real examples of one role's file, in the order in which they were written. Raises `StoreError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"cannot read {str(path)!r}: {error}. Delete its folder, then run the same command again: the split is "
            "made anew from the source, item for item."
        ) from error
    return tuple(
        Example(
            row["id"],
            row["text"],
            row["label"],
            json.loads(row["slices"]),
            Origin.REAL,
            row.get("answer", ""),
            row.get("context", ""),
        )
        for row in rows
    )

from dataclasses import replace

import numpy as np
import pytest
from factories import LABELS
from filter_cases import candidates, context, said, seed, verdicts

from harness.filters.base import Context, Labeller
from harness.filters.consistency import ConsistencyFilter
from harness.records import Decision


def asked(probabilities: list[list[float]], **rule: float) -> Context:
    """Candidates asked for as ALPHA, with the students' answers."""
    rows = candidates(*[f"text {i} ?" for i in range(len(probabilities))])
    labeller = Labeller(tuple(LABELS), np.array(probabilities), np.array(probabilities), np.zeros((0, 3)))
    return context(rows, labeller=labeller, filters={"consistency": rule})


def test_keep_relabel_or_drop() -> None:
    given = asked(
        [[0.8, 0.1, 0.1], [0.45, 0.3, 0.25], [0.1, 0.75, 0.15], [0.3, 0.6, 0.1], [0.0, 0.3, 0.7]],
        keep_at=0.5,
        relabel_at=0.7,
    )
    found = verdicts(ConsistencyFilter(), given)
    assert said(found) == [
        "keep",
        "drop: unsure of the label",
        "relabel: reads as BETA",
        "drop: label not confirmed",
        "relabel: reads as GAMMA",
    ]
    assert [one.score for one in found] == [0.8, 0.45, 0.75, 0.3, 0.7]
    assert [one.label for one in found] == [None, None, "BETA", None, "GAMMA"]


def test_one_never_relabels_however_sure_the_students_are() -> None:
    assert said(verdicts(ConsistencyFilter(), asked([[0.0, 1.0, 0.0]], relabel_at=1))) == ["drop: label not confirmed"]
    assert said(verdicts(ConsistencyFilter(), asked([[0.0, 1.0, 0.0]], relabel_at=0.99))) == ["relabel: reads as BETA"]


def test_the_answer_is_found_by_the_row_in_the_context_and_not_by_place() -> None:
    from asyncio import run

    from harness.filters.base import Standing

    given = asked([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    only = [Standing(1, given.candidates[1], "ALPHA")]
    assert [one.decision for one in run(ConsistencyFilter()(only, given))] == [Decision.KEEP]


def test_worth_by_hand() -> None:
    seeds = [seed(i, f"seed {i}", label) for i, label in enumerate(["ALPHA", "ALPHA", "BETA", "GAMMA"])]
    answers = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    given = context([], seeds=seeds, filters={"consistency": {"keep_at": 0.5}})
    none = np.zeros((0, 3))
    given = replace(given, labeller=Labeller(tuple(LABELS), none, none, answers))
    worth = ConsistencyFilter().worth(given)
    assert worth is not None
    # Right labels kept: the first and the last (the third is unsure). Of 8 wrong ones: BETA for the second.
    assert (worth.phi, worth.psi, worth.n) == (0.5, 0.125, 4)
    assert worth.p_star == pytest.approx(0.5 / 0.625)
    assert worth.how == "4 seeds out of fold under their own label, and under each of the 2 others"
    joined = replace(given, labeller=Labeller(tuple(LABELS), np.zeros((0, 3)), none, answers))
    said = ConsistencyFilter().worth(joined)
    assert said is not None
    assert said.how == f"{worth.how}; the self-trained students, which have half of the say, are not in this figure"


def test_without_seeds_there_is_no_worth_and_without_students_no_verdict() -> None:
    assert ConsistencyFilter().worth(context([])) is None
    with pytest.raises(ValueError, match="no labeller"):
        verdicts(ConsistencyFilter(), context([], labeller=None))

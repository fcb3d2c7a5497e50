"""Which texts a generation hands on, which rows the next one learns, and how it is said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from spec_cases import SMALL, write

from eval.collapse import Verdict
from eval.confirm import Confirmation
from harness.collapsecheck import CollapseCheck
from harness.errors import SpecError
from harness.generations import QUICK, ArmReport, GenerationsReport, _chosen, _labels, _rows, _well_formed
from harness.generationwords import arm_lines, arm_tables, loss_change, seeds_table
from harness.records import Estimate, Example, Origin
from harness.specfile import load
from harness.train.authors import Written


def written(*texts: str) -> list[Written]:
    return [Written("yay", text, finished=True) for text in texts]


def real(count: int) -> list[Example]:
    return [Example(f"real-{i}", f"real text {i}", ("yay", "nay")[i % 4 == 0], {}, Origin.REAL) for i in range(count)]


def bench(items: int = 4, real_share: float = 0.25, judge: Any = None) -> Any:
    rule = SimpleNamespace(items=items, real_share=real_share)
    return SimpleNamespace(spec=SimpleNamespace(seed=3, collapse=rule), real=real(8), judge=judge)


def test_copies_stumps_stutters_and_cut_texts_are_sorted_out() -> None:
    given = written("Who wrote Emma ?", "who wrote emma?", "Who ?", "Who who who wrote it ?", "Where is Rome ?")
    given.append(replace(given[0], text="Where is the longest river of", finished=False))
    assert [one.text for one in _well_formed(given)] == ["Who wrote Emma ?", "Where is Rome ?"]


def test_an_arm_hands_on_at_most_what_is_wanted_and_no_empty_text() -> None:
    found = _chosen(bench(), "replace", written("a b c", "", "d e f", " ", "g h i", "j k l", "m n o"), 1)
    assert len(found) == 4
    assert all(one.text and one.origin is Origin.SYNTHETIC for one in found)
    assert len({one.id for one in found}) == 4
    assert found == _chosen(bench(), "replace", written("a b c", "", "d e f", " ", "g h i", "j k l", "m n o"), 1)


def test_verified_keeps_what_the_outside_judge_agrees_with() -> None:
    judge = SimpleNamespace(agrees=lambda texts: ["good" in one.text for one in texts])
    found = _chosen(bench(judge=judge), "verified", written("a good one", "a bad one", "good too"), 1)
    assert sorted(one.text for one in found) == ["a good one", "good too"]


def test_what_each_arm_learns() -> None:
    history = [_chosen(bench(), "replace", written(*(f"text {g} {i} ?" for i in range(4))), g) for g in (1, 2)]
    assert _rows(bench(), "replace", history, 2) == history[1]
    assert _rows(bench(), "filtered", history, 2) == history[1]
    assert _rows(bench(), "accumulate", history, 2) == [*real(8), *history[0], *history[1]]
    mixed = _rows(bench(), "anchored", history, 2)
    assert len(mixed) == 4
    assert sum(one.origin is Origin.REAL for one in mixed) == 1
    assert {one.text for one in mixed if one.origin is Origin.SYNTHETIC} < {one.text for one in history[1]}
    # A share that rounds to none still keeps one real row.
    assert sum(one.origin is Origin.REAL for one in _rows(bench(real_share=0.01), "anchored", history, 2)) == 1


def test_prompts_have_the_labels_in_the_shares_of_the_real_rows() -> None:
    found = _labels(real(8), 12)
    assert (found.count("yay"), found.count("nay")) == (9, 3)


def test_the_section_is_read_and_quick_fits_into_it(tmp_path: Any) -> None:
    spec = load(write(tmp_path), [*QUICK])
    assert spec.collapse.tiny is not None
    assert spec.causal.lora is None
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, SMALL + "collapse: {tiny: {}}\n"))
    assert [problem.where for problem in caught.value.problems] == ["causal.lora", "causal.format"]
    with pytest.raises(SpecError, match="replce"):
        load(write(tmp_path, SMALL + "collapse: {arms: [replce]}\n"))


def arm(name: str, change: float, status: str = "ok") -> ArmReport:
    estimate = Estimate(change, change - 0.1, change + 0.1, 40, "paired t")
    confirmed = Confirmation("real NLL", change > 0.1, None, None, (2.0, 2.0 + change), (estimate,), "It rose.")
    verdict = Verdict(status, "nnR is so.", first_alarm=1 if status == "alarm" else None, confirmations=(confirmed,))  # type: ignore[arg-type]
    check = CollapseCheck("e@1", "anchors", (), verdict, (), ())
    return ArmReport(name, (), check, check, (2.0, 2.0 + change), (1.0, 0.9), (("a",), ("b",)))


def report(seed: int, **changes: float) -> GenerationsReport:
    arms = tuple(arm(name, change, "alarm" if change > 0.3 else "ok") for name, change in changes.items())
    return GenerationsReport(f"collapse-{seed}", "tiny", seed, {}, 100, 40, arms, "", {}, {}, ())


def test_tables_and_lines_say_loss_verdict_and_advice() -> None:
    one = report(0, replace=0.5, accumulate=-0.02)
    first = arm_tables(one)[0]
    assert first.rows[0][:4] == ("replace", "2.000", "2.500", "+0.500 [+0.400, +0.600]")
    assert first.rows[0][4] == "ALARM since generation 1"
    lines = arm_lines(one)
    assert lines[0] == "replace: ALARM since generation 1. nnR is so. It rose."
    assert any(line.startswith("next (replace): Stop training on this output") for line in lines)


def test_seeds_are_laid_side_by_side_with_an_interval_over_them() -> None:
    table = seeds_table([report(0, replace=0.5, accumulate=0.0), report(1, replace=0.7, accumulate=0.0)])
    assert table.rows[0] == ("replace", "+0.600 [-0.671, +1.871]", "+0.500 +0.700", "alarm, alarm")
    assert table.rows[1][1] == "+0.000 [+0.000, +0.000]"
    assert loss_change(replace(arm("replace", 0.5), nll=())) is not None

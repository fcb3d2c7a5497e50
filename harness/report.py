"""A finished run as one self-contained HTML page, its pictures, `report.json` and a few lines for the terminal.

The page loads nothing: style and pictures are inline and a content-security policy forbids the rest. Whatever
comes from data or models is escaped; what looks like a secret is taken out before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from eval.slices import AND
from harness.ablationreport import Ablation
from harness.ablationwords import ablation_figure, ablation_lines, ablation_table
from harness.collapsewords import check_lines, check_tables
from harness.controlwords import control_lines, control_verdict, could_be_chance, nothing_gained
from harness.coverage import coverage_lines, coverage_of, difficulty_by_cell
from harness.figures import all_figures, before_and_after, funnel_totals, last_funnel, paired_slices
from harness.judgewords import gate_facts, gate_words, judge_lines, judge_verdict
from harness.modekinds import cautions, least_of
from harness.pages import environment, inline, interval, page_folder, percent, points, unbroken
from harness.records import Comparison, Decision, Estimate, Verdict
from harness.redact import redacted
from harness.reports import FunnelRow, RunReport, Sample
from harness.roundwords import effects, gains, least_gain, prompt_diffs
from harness.scorewords import has_answers, named_scores, p_source, score_name
from harness.store import write_json

ARMS = {
    "base": "the model as it comes, without any training on this task",
    "seeds": "trained on the real seeds only: what you have without this tool",
    "synthetic": "trained on the accepted synthetic rows only",
    "mixed": "trained on seeds and accepted synthetic rows together: the result of the loop",
    "closed": "seeds and accepted rows of the loop's last round, cut to the controls' number of rows",
    "static": "the same number of rows from a loop without feedback",
    "shuffled": "the same number of rows from a loop whose feedback had permuted slice names",
    "raw": "the same number of the loop's candidates without filters",
    "naive": "the same number of rows generated without matrix and feedback",
    "real": "trained on as many real rows as there are synthetic ones",
    "all_real": "trained on all real rows there are: the ceiling",
    "synthetic_equal": "synthetic rows cut to the number of the real pool, for a fair source gap",
}
GAPS = {
    "transfer": (
        "Transfer gap",
        "How much better the model does on held-out synthetic items than on real ones. Large means that the "
        "synthetic data is a dialect of its own.",
    ),
    "source": (
        "Source gap",
        "How much better the same number of real training rows would have been than synthetic ones.",
    ),
    "recovered": (
        "Gap recovered",
        "How far the loop got on the way from seeds only (0) to training on all real data (100).",
    ),
}
PICTURES = {
    "arms": (
        "Scores of the arms on the sealed test split",
        "Lines show the interval of each score; numbers are accuracy.",
    ),
    "gap": ("The gaps, round by round", "Measured on dev after each round; vertical lines show the intervals."),
    "controls": (
        "Accuracy of mixed on dev, round by round, with and without the part that a control lacks",
        "Each side trains on all rows that it had accepted by then; the comparison at equal rows is in the table.",
    ),
    "ablation": ("What each filter was worth", "All filters minus without it, on dev; lines show the intervals."),
    "slices": (
        "Accuracy per slice, before and after",
        "On dev, with n. Where many slices exist, those that changed most; the table below has all of them.",
    ),
    "confusion": ("What mixed mistakes for what", "Counts on test; the darker, the larger the share of the row."),
    "funnel": (
        "From plan to accepted row",
        "How many candidates were left after each stage, and their share of the plan.",
    ),
    "coverage": ("Where the accepted rows lie", "Accepted and planned candidates per combination; darker is more."),
    "dynamics": (
        "Training dynamics of mixed",
        "Each row as training saw it. Top left: easy. Right: ambiguous, most to learn from. Bottom left: hard to "
        "learn, often mislabelled.",
    ),
    "collapse": (
        "The frozen probe, round by round",
        "Dotted: where a warning starts. Two rounds in succession beyond it alarm.",
    ),
    "cost": ("What each round took", "Answers that came from the cache cost nothing."),
}
OUTCOMES = ("kept", "relabelled", "dropped")


def write_report(report: RunReport, folder: Path, ablation: Ablation | None = None) -> Path:
    """Write `report.html`, `report.json` and `figures/*.png` into `folder`; return the page's path.

    `ablation` is what `harness ablate` found of the run, which gets a section of its own. The same report gives the
    same bytes. Raises `StoreError` where the folder cannot be written.
    """
    report = redacted(report)
    pictures = all_figures(report)
    if ablation is not None and (picture := ablation_figure(ablation)) is not None:
        pictures["ablation"] = picture
    page = render(report, pictures, ablation)
    advice = f"The run itself is safe; free some space, then make the report again with `harness report {report.id}`."
    with page_folder(folder, pictures, "report", advice):
        write_json(folder / "report.json", RunReport, report)
        (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def render(report: RunReport, pictures: Mapping[str, bytes], ablation: Ablation | None = None) -> str:
    """The HTML page; `pictures` maps the names of `PICTURES` to PNG bytes."""
    import yaml

    main, covered = main_comparison(report), coverage_of(report)
    return (
        environment(in_pair=_is_pair)
        .get_template("report.html.j2")
        .render(
            r=report,
            headline=unbroken(headline(report)),
            verdict=verdict(main),
            doubt=could_be_chance(main) if main else "",
            main=main,
            metric=main_metric(report),
            scores=named_scores,
            dev_scores=list(_dev_scores(report)),
            arms=ARMS,
            gaps={name: (*text, getattr(report.gap, name)) for name, text in GAPS.items()},
            pictures=inline(pictures, PICTURES),
            metric_name=partial(score_name, answers=has_answers(report)),
            p_source=p_source,
            funnel_totals=funnel_totals,
            drop_reasons=drop_reasons,
            covered=covered,
            difficulty=difficulty_by_cell(last_funnel(report)),
            ablation=None if ablation is None else ablation_table(ablation),
            ablation_lines=() if ablation is None else ablation_lines(ablation),
            covered_lines=coverage_lines(covered) if covered else (),
            slices=paired_slices(*before_and_after(report)),
            control_verdict=control_verdict,
            gate_facts=gate_facts,
            gate_words=gate_words,
            judge_verdict=judge_verdict,
            cautions=cautions(report.modes),
            least_of=least_of,
            nothing=nothing_gained(report, main),
            diffs=prompt_diffs(report),
            effects=effects(report),
            gains=gains(report),
            least=least_gain(report),
            samples=_samples(report),
            accepted_share=accepted_share(report),
            check_tables=check_tables,
            check_lines=check_lines,
            round_names=[f"round {each.round}" for each in report.rounds],
            spec=yaml.safe_dump(dict(report.spec), sort_keys=False, allow_unicode=True, width=100),
        )
    )


def summary_lines(report: RunReport) -> list[str]:
    """The result in a few plain lines for a terminal: headline, arms, gaps, stop reason.

    >>> summary_lines(report)[0]
    'Mixed beat seeds only by 7.0 points of accuracy on the sealed test (79.8 % against 72.8 %, interval …'
    """
    nothing = nothing_gained(report, main_comparison(report))
    lines = [headline(report), *([nothing] if nothing else [])]
    for arm, scored in report.test.items():
        rows = report.training_rows.get(arm)
        trained = "" if rows is None else f", {rows:,} training rows"
        lines.append(
            f"  {arm:<10} {', '.join(f'{name} {interval(one)}' for name, one in named_scores(scored).items())}"
            f" (n = {scored.n:,}{trained})"
        )
    for name, (title, _) in GAPS.items():
        estimate: Estimate = getattr(report.gap, name)
        unit = "percent" if name == "recovered" else "points"
        lines.append(f"{title}: {interval(estimate, unit)}")
    lines += [*control_lines(report), *judge_lines(report)]
    lines += [f"Caution, {line[0].lower()}{line[1:]}" for line in cautions(report.modes)]
    lines.append(f"Stopped after {_rounds(len(report.rounds))}: {report.stop}")
    return lines


def headline(report: RunReport) -> str:
    """One sentence: did mixed beat seeds only, by how much, how much of the gap was recovered, why did it stop."""
    main = main_comparison(report)
    recovered = report.gap.recovered.value
    tail = (
        "" if recovered is None else f", which recovers {percent(recovered, 0)} of the gap to training on all real data"
    )
    return f"{_main_clause(report, main)}{tail}; the run stopped after {_rounds(len(report.rounds))}: {report.stop}."


def verdict(main: Comparison | None) -> str:
    """`better`, `worse` or `unclear`: where the interval of mixed − seeds lies; `unknown` without one."""
    if main is None or main.difference.low is None or main.difference.high is None:
        return "unknown"
    if main.difference.low > 0:
        return "better"
    return "worse" if main.difference.high < 0 else "unclear"


def main_metric(report: RunReport) -> str:
    """The metric that gaps and the stop rule used, e.g. `accuracy`."""
    evaluate = report.spec.get("evaluate")
    chosen = cast("Mapping[str, object]", evaluate).get("metric") if isinstance(evaluate, Mapping) else None
    return str(chosen or "accuracy")


def main_comparison(report: RunReport) -> Comparison | None:
    """Mixed against seeds only on test, in the main metric; None if the run has none."""
    metric = main_metric(report)
    found = [each for each in report.comparisons if (each.a, each.b, each.metric) == ("mixed", "seeds", metric)]
    return found[0] if found else None


def accepted_share(report: RunReport) -> float | None:
    """Accepted rows per answer drawn, over all rounds; None if nothing was drawn."""
    drawn = sum(each.generated for each in report.rounds)
    return sum(each.accepted for each in report.rounds) / drawn if drawn else None


def drop_reasons(rows: Sequence[FunnelRow]) -> dict[str, list[tuple[str, int]]]:
    """Filter → its reasons with counts, most frequent first. Reasons are written `filter: reason`."""
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        for text, count in row.reasons.items():
            name, found, reason = text.partition(":")
            reasons = table.setdefault(name.strip() if found else "other", {})
            reason = reason.strip() if found else text
            reasons[reason] = reasons.get(reason, 0) + count
    ordered = {name: sorted(counts.items(), key=lambda item: (-item[1], item[0])) for name, counts in table.items()}
    return {
        name: [item for item in counts if item[1]] for name, counts in ordered.items() if any(dict(counts).values())
    }


def outcome(sample: Sample) -> str:
    """`kept`, `relabelled` or `dropped`."""
    if sample.final_label is None:
        return "dropped"
    same = sample.final_label == sample.asked_label and (sample.final_answer or "") == sample.answer
    return "kept" if same else "relabelled"


def deciding(sample: Sample) -> tuple[Verdict, ...]:
    """The verdicts that explain the outcome: the drop, the relabelling, or all that kept the sample."""
    wanted = {"dropped": Decision.DROP, "relabelled": Decision.RELABEL}.get(outcome(sample))
    found = tuple(each for each in sample.verdicts if each.decision is wanted)
    return found or sample.verdicts


def _dev_scores(report: RunReport) -> dict[str, Estimate]:
    """The scores that the tables of dev show, of the first arm that there is."""
    return next((named_scores(scored) for each in report.rounds for scored in each.dev.values()), {})


def _main_name(report: RunReport) -> str:
    return score_name(main_metric(report), answers=has_answers(report))


def _main_clause(report: RunReport, main: Comparison | None) -> str:
    outcome_of = verdict(main)
    if not report.test:
        best = next((each.dev.get("mixed") for each in report.rounds if each.is_best), None)
        score = percent(best.score(main_metric(report)).value) if best else "no score"
        return f"The test split stayed sealed; on dev, mixed reached {score} of {_main_name(report)}"
    if main is None or main.difference.value is None or outcome_of == "unknown":
        return "Whether mixed beats seeds only is not known, because the run holds no comparison of the two"
    mixed, seeds = (
        scored.score(main.metric) if (scored := report.test.get(arm)) else None for arm in ("mixed", "seeds")
    )
    scores = f"{percent(mixed.value)} against {percent(seeds.value)}, " if mixed and seeds else ""
    ends = f"interval {points(main.difference.low)} to {points(main.difference.high)}"
    size = f"{points(abs(main.difference.value), sign=False)} points of {_main_name(report)}"
    if outcome_of == "unclear":
        way = "above" if main.difference.value >= 0 else "below"
        seen = f"mixed is {size} {way} seeds only ({scores}{ends}, which spans zero)"
        return f"No clear difference on the sealed test: {seen}"
    verb = "Mixed beat seeds only by" if outcome_of == "better" else "Mixed did worse than seeds only, by"
    return f"{verb} {size} on the sealed test ({scores}{ends})"


def _samples(report: RunReport) -> list[tuple[str, list[tuple[int, Sample, tuple[Verdict, ...]]]]]:
    """Outcome → (round, sample, deciding verdicts), kept ones first."""
    every = [(each.round, sample, deciding(sample)) for each in report.rounds for sample in each.samples]
    groups = [(name, [row for row in every if outcome(row[1]) == name]) for name in OUTCOMES]
    return [(name, group) for name, group in groups if group]


def _is_pair(value: str, *_: object) -> bool:
    return AND in value


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"

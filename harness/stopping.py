"""Which round counts, when to stop, and what that rests on.

A later round counts as better only if its paired gain on dev is above η (the Ladder, Blum & Hardt 2015,
arXiv 1502.04585): picking the best of many noisy dev scores would flatter the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.score import compare
from harness.bench import Bench, Harvest
from harness.records import Comparison, Cost, EvalReport, Role
from harness.reports import RoundReport
from harness.scoring import Scored, predictions_of
from harness.spec import Budget, Spec
from harness.store import Artefact


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round: its report, its rows, its adapters, and the answers to the frozen probe in batches."""

    report: RoundReport
    harvest: Harvest
    scored: Scored
    adapters: dict[str, Artefact]
    probe: tuple[tuple[str, ...], ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Candidates drawn in each wave of this round."""
        own = [wave for wave in self.harvest.waves if wave.round == self.report.round]
        return tuple(sum(quota.candidates for quota in wave.quotas) for wave in own)


def metric_of(report: EvalReport, metric: str) -> float:
    """The score that decides, 0 where it cannot be had."""
    return report.score(metric).value or 0.0


def gain_of(bench: Bench, number: int, now: Scored, best: Round | None) -> Comparison | None:
    """`mixed` of round `number` against `mixed` of the best round before it, the same dev items; None in round 1."""
    if best is None:
        return None
    rule = bench.spec.evaluate
    after, before = (
        predictions_of(bench.store.find(ident).path)["mixed"] for ident in (now.artefact, best.scored.artefact)
    )
    return compare(
        f"round {number}",
        f"round {best.report.round}",
        bench.data.examples[Role.DEV],
        after,
        before,
        rule.metric,
        rule.resamples,
        bench.spec.seed,
    )


def best_round(done: Sequence[Round], best: int, spec: Spec) -> int:
    """Index of the round that counts after the last of `done`; `best` is the index before it."""
    last, target = len(done) - 1, spec.stop.target
    reached = target is not None and _dev(done[last], spec) >= target
    gain = done[last].report.gain
    better = gain is not None and (gain.difference.value or 0.0) > spec.stop.min_gain
    return last if reached or better else best


def stop_reason(done: Sequence[Round], best: int, spec: Spec) -> str:
    """Why the run ends after the last of `done`, or ""."""
    rule, last = spec.stop, done[-1]
    reached = _dev(last, spec)
    since_best = len(done) - 1 - best
    if rule.target is not None and reached >= rule.target:
        return f"target reached: dev {spec.evaluate.metric} {reached:.3f} ≥ {rule.target:.3f}"
    if last.harvest.out_of_budget:
        return "the budget ended"
    if rule.collapse and last.report.collapse is not None and last.report.collapse.status == "alarm":
        return f"the frozen probe alarms: {last.report.collapse.reason}"
    if len(done) >= rule.max_rounds:
        return f"round limit of {rule.max_rounds}"
    if since_best >= rule.patience:
        return f"no gain above {rule.min_gain:g} on dev for {since_best} round(s)"
    return ""


def evidence_of(done: Sequence[Round], best: int, spec: Spec, spent: Cost) -> tuple[str, ...]:
    """What the stop rule looked at after the last of `done`, a sentence each."""
    last, rule = done[-1].report, spec.stop
    said = [_gain_words(last.gain, rule.min_gain)] if last.gain else []
    said.append(f"Rounds: {len(done)} of at most {rule.max_rounds}; the best so far is round {best + 1}.")
    if rule.target is not None:
        said.append(f"Target: dev {spec.evaluate.metric} {_dev(done[-1], spec):.3f} of {rule.target:.3f}.")
    if last.collapse is not None:
        said.append(f"Frozen probe: {last.collapse.status}. {last.collapse.reason}")
    return (*said, *_budget_words(spec.budget, spent))


def _gain_words(gain: Comparison, least: float) -> str:
    found = gain.difference
    value = f"{100 * (found.value or 0.0):+.1f}"
    ends = "" if found.low is None or found.high is None else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    verdict = "counts as better" if (found.value or 0.0) > least else "does not count as better"
    usual = "" if gain.mdd is None else f"; so many items usually show {100 * gain.mdd:.1f}"
    return (
        f"{gain.a.capitalize()} − {gain.b} on the same {found.n:,} dev items: {value} points{ends}, which {verdict} "
        f"(more than {100 * least:+.1f} is asked for{usual})."
    ).replace("-", "−")


def _budget_words(budget: Budget, spent: Cost) -> list[str]:
    tokens = spent.prompt_tokens + spent.completion_tokens
    pairs = (
        (budget.calls, f"{spent.calls:,} of {budget.calls or 0:,} calls"),
        (budget.tokens, f"{tokens:,} of {budget.tokens or 0:,} tokens"),
        (budget.usd, f"${spent.usd:,.2f} of ${budget.usd or 0:,.2f}"),
    )
    used = [words for limit, words in pairs if limit is not None]
    return [f"Budget: {', '.join(used)}."] if used else []


def judged(done: Sequence[Round], best: int, stop: str) -> list[Round]:
    """The rounds with what is known only at the end: which one counts, and why the last was the last."""
    last = len(done) - 1
    return [
        replace(one, report=replace(one.report, is_best=index == best, stop=stop if index == last else ""))
        for index, one in enumerate(done)
    ]


def _dev(done: Round, spec: Spec) -> float:
    return metric_of(done.scored.reports["mixed"], spec.evaluate.metric)

"""What a comparison of variants came to, in rows and sentences for a terminal and a page."""

from __future__ import annotations

from harness.comparison import AgainstBase, Comparison, Line
from harness.forecast import Table
from harness.pages import duration, money, p_value, percent
from harness.pooledwords import p_words, points_of, span_of
from harness.records import Cost, Estimate, Role
from harness.scorewords import p_source, score_name
from harness.suitespec import BASE

ON_DEV = (
    "Scores are on dev, and the test splits stayed sealed. Dev steered the rounds of each variant, so it flatters all "
    "of them: good for choosing. `--open-test` scores all variants on the sealed test, once and together."
)
ON_TEST = (
    "Scores are on the sealed test, opened once a seed for all variants together, after all runs were finished. "
    "Whoever changes the suite now and opens it again takes a further look at the same items (`--reopen-test`)."
)
FURTHER = "These test items had been looked at {times} time(s) before: what was chosen by an earlier look fits them."
HOW = (
    "Differences are paired on the same items. p and detectable allow for items and training seeds (MOVER), adjusted "
    "(Holm) for {claims} variant(s)."
)
HOW_ONE = (
    "Differences are paired on the same items; one seed: p is {source}, adjusted (Holm) for {claims} "
    "variant(s). What another training seed would do is not in it: give the suite at least three."
)
COSTS = (
    "Needed: the answers that a variant's runs stand on, whoever paid; paid: what its runs paid themselves. Wall time "
    "is as it ran here: what was found in the store took none."
)


def compare_tables(found: Comparison) -> list[Table]:
    """The ranking, then what each variant took."""
    metric = score_name(found.metric)
    title = (
        f"{found.name}: {metric} of {found.arm} on {found.role.value}, {len(found.seeds)} seed(s), percent and points"
    )
    columns = ("#", "variant", metric, "interval", "− base", "over items", "with seed noise", "p", "p, adjusted",
               "detectable", "by seed")  # fmt: skip
    ranked = tuple((str(place), *_row(line)) for place, line in enumerate(found.lines, start=1))
    took = tuple(_took(line) for line in found.lines)
    cost_columns = (
        "variant",
        "calls needed",
        "USD needed",
        "calls paid",
        "USD paid",
        "accepted",
        "rounds",
        "wall time",
    )
    return [Table(title, columns, ranked), Table("What each variant took, all its seeds", cost_columns, took)]


def compare_lines(found: Comparison) -> list[str]:
    """How the figures are meant, what each variant says, what is missing."""
    out = [ON_DEV if found.role is Role.DEV else ON_TEST]
    looked = max((len(one) for one in found.looks.values()), default=1)
    out += [FURTHER.format(times=looked - 1)] if looked > 1 else []
    claims = sum(line.against is not None for line in found.lines)
    out.append((HOW if len(found.seeds) > 1 else HOW_ONE).format(claims=claims, source=p_source(found.metric)))
    out += [COSTS, sharing(found)]
    out += [] if found.base else ["There is no finished run of the base, so there is nothing to take differences to."]
    out += [line_verdict(line) for line in found.lines if line.against is not None]
    out += [f"{line.variant}: {line.note}." for line in found.lines if line.note]
    return out + [f"not finished: {name}: {fault}" for name, fault in found.missing.items()]


def sharing(found: Comparison) -> str:
    """How many calls the runs needed, and how many were paid for."""
    runs = sum(len(line.runs) for line in found.lines)
    used, paid = found.used, found.paid
    if not used.calls:
        return f"{runs} run(s) stand on no calls that are on record."
    base = found.base
    times = f", {paid.calls / base.used.calls:.2f} times what the base needs" if base and base.used.calls else ""
    rest = ": the rest was shared" if paid.calls < used.calls else ""
    return (
        f"{runs} run(s) stand on {used.calls:,} calls ({money(used.usd)}) counted run by run; paid were "
        f"{paid.calls:,} ({money(paid.usd)}){times}{rest}."
    )


def line_verdict(line: Line) -> str:
    """One sentence for a variant, whichever way it falls. Over several seeds the interval with seed noise decides."""
    one = line.against
    if one is None:
        return ""
    shown = deciding(one)
    if shown.value is None or shown.low is None or shown.high is None:
        return f"{line.variant}: not known, {shown.note or 'there is no interval'}."
    figure = f"{points_of(shown.value)} points [{points_of(shown.low)}, {points_of(shown.high)}]"
    if shown.low > 0 or shown.high < 0:
        which = "better" if shown.low > 0 else "worse"
        return f"{line.variant}: {which} than the base{_doubt(one)}: {figure}."
    least = "" if one.detectable is None else f"; less than {100 * one.detectable:.1f} would usually not show"
    return f"{line.variant}: no measurable difference to the base: {figure}{least}."


def _doubt(one: AgainstBase) -> str:
    """Why the difference may be chance although its interval leaves out 0: test and interval are two approximations."""
    if one.p_value is not None and one.p_value > 0.05:
        return f", though with a p of {p_value(one.p_value)} it could be chance"
    sure = one.p_holm is not None and one.p_holm <= 0.05
    return "" if sure else ", though adjusted for the number of variants it could be chance"


def verdict_word(line: Line) -> str:
    """`better`, `worse` or `unclear`, adjusted for the number of variants; `base` for the base."""
    if line.against is None:
        return "base" if line.variant == BASE else "unknown"
    shown, p = deciding(line.against), line.against.p_holm
    if shown.low is None or shown.high is None or p is None or p > 0.05:
        return "unclear"
    # p speaks of accuracy also where the difference is in another metric, so the interval has to agree.
    return "better" if shown.low > 0 else "worse" if shown.high < 0 else "unclear"


def deciding(one: AgainstBase) -> Estimate:
    """The difference with its interval: with seed noise where there are several seeds."""
    return one.difference.total if len(one.difference.per_run) > 1 else one.difference.items


def headline(found: Comparison) -> str:
    """One sentence: what stands above the base, what below, what cannot be told."""
    words = {line.variant: verdict_word(line) for line in found.lines}
    better, worse, unclear = (
        [name for name, word in words.items() if word == kind] for kind in ("better", "worse", "unclear")
    )
    parts = [
        f"{_names(names)} {'is' if len(names) == 1 else 'are'} {word} the base"
        for names, word in ((better, "better than"), (worse, "worse than"), (unclear, "not told apart from"))
        if names
    ]
    return f"{'; '.join(parts)}." if parts else "There is nothing but the base to compare."


def took(cost: Cost) -> tuple[str, str]:
    return (f"{cost.calls:,}", money(cost.usd))


def _names(names: list[str]) -> str:
    return ", ".join(names)


def _row(line: Line) -> tuple[str, ...]:
    own = line.score.total if line.score.total.low is not None else line.score.items
    ends = "–" if own.low is None or own.high is None else f"{100 * own.low:.1f} to {100 * own.high:.1f}"
    score = (line.variant, percent(line.score.items.value), ends)
    one = line.against
    if one is None:
        by_seed = " ".join("–" if value is None else f"{100 * value:.1f}" for value in line.score.per_run)
        return (*score, "", "", "", "", "", "", by_seed)
    return (
        *score,
        points_of(one.difference.items.value),
        span_of(one.difference.items),
        span_of(one.difference.total),
        p_words(one.p_value),
        p_words(one.p_holm),
        "–" if one.detectable is None else f"{100 * one.detectable:.1f}",
        " ".join(map(points_of, one.difference.per_run)),
    )


def _took(line: Line) -> tuple[str, ...]:
    return (
        line.variant,
        *(took(line.used) if line.used.calls else ("–", "–")),
        *took(line.paid),
        percent(line.accepted_share, 0),
        f"{line.rounds:.1f}",
        duration(line.seconds),
    )

"""What a collapse check found, in tables and sentences for a terminal."""

from __future__ import annotations

from eval.collapse import Course, Look, Verdict
from harness.collapsecheck import CollapseCheck
from harness.forecast import Table
from harness.pages import p_value

COURSE_COLUMNS = ("generation", "texts", "nnR", "change", "p", "log RKE", "change of modes", "p", "CUSUM", "says")
PROFILE_COLUMNS = (
    *("generation", "compared", "words", "left by dedup", "Vendi", "distinct-2", "self-rep.", "compression"),
    *("coverage", "recall", "precision", "MMD", "Fréchet", "energy"),
)
MEASURED = {
    "anchors": "the real anchors",
    "generation 0": "texts held back of generation 0",
    "none": "nothing: nnR is left out",
}


def check_tables(found: CollapseCheck) -> list[Table]:
    """The two statistics by generation; then what explains them."""
    verdict = found.verdict
    facts = list(enumerate(found.generations))
    size = f", {verdict.size} texts compared at a time" if verdict.size else ""
    title = f"Collapse: {len(facts)} generations, nnR to {MEASURED[found.reference]}{size}"
    rows = tuple(
        (str(place), f"{one.items:,}", *_course_cells(place, verdict), *_says(place, verdict)) for place, one in facts
    )
    tables = [Table(title, COURSE_COLUMNS, rows)]
    if found.profiles:
        explained = tuple(
            (
                str(one.generation),
                f"{one.compared:,}",
                _plain(one.words),
                _figure(one.survival, 2),
                _plain(one.vendi),
                *(_figure(value, 2) for value in (one.distinct_2, one.self_repetition)),
                _figure(one.compression, 2),
                *(_figure(value, 2) for value in (one.coverage, one.recall, one.precision)),
                *(_figure(value, 4) for value in (one.mmd, one.frechet, one.energy)),
            )
            for one in found.profiles
        )
        about = "What explains it, at one number of texts and words (none of these alarms)"
        tables.append(Table(about, PROFILE_COLUMNS, explained))
    return tables


def check_lines(found: CollapseCheck) -> list[str]:
    """The verdict, what else was seen, what makes it doubtful, and what to do."""
    verdict = found.verdict
    since = f" since generation {verdict.first_alarm}" if verdict.status == "alarm" else ""
    said = [f"verdict: {verdict.status.upper()}{since}. {verdict.reason}"]
    if verdict.run_rate is not None and verdict.level is not None:
        said.append(
            f"  By design about {100 * verdict.run_rate:.0f} of 100 runs without any change alarm: p ≤ "
            f"{p_value(verdict.level)} twice in succession, generation 0 in {verdict.batches} "
            f"batch{'' if verdict.batches == 1 else 'es'}."
        )
    said += [f"confirmation: {one.reason}" for one in verdict.confirmations]
    said += [f"note: {note}" for note in verdict.notes]
    said += [f"caution: {caution}" for caution in found.cautions]
    return [*said, *(f"next: {step}" for step in advice(verdict))]


def advice(verdict: Verdict) -> tuple[str, ...]:
    """What to do now."""
    if verdict.status == "alarm":
        return (
            f"Stop training on this output. Go back to generation {_last_sound(verdict)}, the last before a warning.",
            "Keep real data in every generation's training set: Shumailov et al. (Nature 2024) report a minor loss "
            "with 10 % of it kept and collapse without any.",
            "Accumulate: train on all generations and the real data together, never on the newest alone "
            "(Gerstgrasser et al., arXiv 2404.01413: the error stays bounded).",
            "Lay texts of the last generation beside some of generation 0: what is written no more?",
        )
    if verdict.status == "warn":
        return (
            "One value beyond its limit is no alarm. Make the next generation with the same prompts and check again "
            "before anything is trained on this one.",
        )
    if verdict.status == "insufficient":
        return (
            "Give two or more generations of at least 50 texts each, made with the same prompts, and if you can eight "
            "independent batches of generation 0 (a folder with eight files) and 100 real texts as --anchors.",
        )
    return ("Go on, and check each new generation with the same prompts, decoding and number of texts.",)


def _last_sound(verdict: Verdict) -> int:
    return max(0, (verdict.first_warning if verdict.first_warning is not None else 1) - 1)


def _course_cells(place: int, verdict: Verdict) -> tuple[str, ...]:
    if not verdict.courses:
        return ("–",) * 7
    nnr, rke = verdict.courses
    if place == 0:
        return (_figure(nnr.baseline, 3), "", "", _figure(rke.baseline, 3), "", "", "")
    first, second = (_look(one, place) for one in (nnr, rke))
    sums = " / ".join(_figure(None if one is None else one.cusum, 1) for one in (first, second))
    return (*_cells(first), *_cells(second), sums)


def _cells(look: Look | None) -> tuple[str, str, str]:
    if look is None:
        return ("–", "–", "–")
    change = "–" if look.effect is None else f"{look.effect:+.1f} %"
    return (f"{look.value:.3f}", change, f"{p_value(look.p)}{' *' if look.beyond else ''}")


def _look(course: Course, place: int) -> Look | None:
    return next((look for look in course.looks if look.generation == place), None)


def _says(place: int, verdict: Verdict) -> tuple[str]:
    if place in verdict.not_judged:
        return (f"not judged: {verdict.not_judged[place]}",)
    looks = [_look(one, place) for one in verdict.courses]
    if place == verdict.first_alarm:
        return ("alarm",)
    if any(look is not None and look.beyond for look in looks):
        return ("beyond a limit",)
    return ("baseline" if place == 0 and verdict.courses else "",)


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"

"""The report: what it says, that it escapes everything, loads nothing, and copes with missing pieces."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from factories import (
    NOTHING,
    make_comparison,
    make_estimate,
    make_eval,
    make_gap,
    make_mode,
    make_round,
    make_run_report,
    make_samples,
    make_side,
    make_slice,
    make_spec,
)

from harness import pages
from harness import report as module
from harness.errors import StoreError
from harness.records import Cost, Guidance, Role
from harness.report import headline, summary_lines, write_report
from harness.reports import FunnelRow, Opening, RunReport
from harness.store import read_json

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; complains about tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for found, attributes in self.tags if found == tag and name in attributes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run_report(), tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def render(report: RunReport) -> Page:
    """The page without its pictures, which would only make these tests slow."""
    return Page(module.render(report, {}))


def test_files_are_the_page_the_record_and_the_pictures(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "report.html", "report.json"]
    names = {"arms", "gap", "controls", "slices", "confusion", "funnel", "coverage", "cost"}
    assert {path.stem for path in (folder / "figures").iterdir()} == names
    assert read_json(folder / "report.json", RunReport) == make_run_report()


def test_the_same_report_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_report(make_run_report(), tmp_path)
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


def test_pictures_that_no_longer_apply_are_removed(tmp_path: Path) -> None:
    write_report(make_run_report(), tmp_path)
    write_report(make_run_report(test={}), tmp_path)
    assert not (tmp_path / "figures" / "confusion.png").exists()
    assert (tmp_path / "figures" / "gap.png").exists()


def test_the_page_is_self_contained(html: str, folder: Path) -> None:
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "form", "base"})
    inline = page.attributes("img", "src")
    assert len(inline) == 8
    prefix = "data:image/png;base64,"
    held = {base64.b64decode((source or "").removeprefix(prefix)) for source in inline}
    assert held == {path.read_bytes() for path in (folder / "figures").iterdir()}
    links = page.attributes("a", "href")
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert links
    assert all((link or "").removeprefix("#") in ids for link in links)
    assert page.attributes("link", "href") == ["data:,"]
    assert "http:" not in html
    assert "https:" not in html
    assert all(page.attributes("img", "alt"))


def test_the_policy_allows_this_style_sheet_and_nothing_else(html: str) -> None:
    css = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert len(css) == 1
    sha = base64.b64encode(hashlib.sha256(css[0].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{sha}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert " style=" not in html


def test_texts_are_escaped_wherever_they_come_from() -> None:
    evil = "<img src=x onerror=alert(1)> \"' &amp; {{ 7*7 }}"
    one = make_round(1, shortfall=evil, stop=evil)
    quota = replace(one.plan.quotas[0], cell=replace(one.plan.quotas[0].cell, values={"label": evil, evil: evil}))
    plan = replace(one.plan, changes=(evil,), guidance=(Guidance(evil, evil, evil, evil, evil),), quotas=(quota,))
    sample = make_samples(1)[2]
    verdict = replace(sample.verdicts[1], reason=evil, evidence=evil, filter=evil)
    sample = replace(sample, text=evil, asked_label=evil, cell={evil: evil}, verdicts=(verdict,))
    funnel = (FunnelRow("cell", {"label": evil, evil: evil}, {evil: 1}, {f"{evil}: {evil}": 1}),)
    worth = (replace(one.worth[0], filter=evil, how=evil),)
    assert one.gate is not None
    gate = replace(one.gate, reason=evil)
    report = make_run_report(
        name=evil,
        stop=evil,
        warnings=(evil,),
        spec={"name": evil},
        artefacts={evil: evil},
        versions={evil: evil},
        gap=replace(make_gap(), transfer=replace(NOTHING, note=evil)),
        rounds=(replace(one, plan=plan, samples=(sample,), funnel=funnel, worth=worth, gate=gate),),
        best_round=1,
    )
    html = module.render(report, {})
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 20
    assert "{{ 7*7 }}" in html
    Page(html)


def test_the_page_says_what_the_issue_asks_for() -> None:
    text = render(make_run_report()).text
    for words in (
        "Adding the synthetic data helped",
        "Mixed beat seeds only by 7.0 points of accuracy on the sealed test",
        "mixed 820 79.8 % (76.8 to 82.8) 77.8 % (74.8 to 80.8) 1,000 2 0",
        "mixed − seeds claim accuracy +7.0 points (+4.9 to +9.1) < .001 .001 3.1",
        "synthetic − seeds accuracy −1.1 points (−3.2 to +1.0) .410 – 3.1",
        "static 140 1,120 770 580 static, made up",
        "static 79.0 % (76.0 to 82.0) +0.5 points (−1.6 to +2.6) .410 .410 3.1",
        "closed 79.5 % (76.5 to 82.5) – – – –",
        "Did the feedback help? Controls at equal calls and rows",
        "What each side scored, accuracy on test",
        "Why it stopped The run stopped because: the round limit (2) is reached.",
        "round 2 − round 1 accuracy +2.0 points (−0.1 to +4.1) .410 3.1 1,000 yes",
        "A round counts as better if it gains more than 0.5 points.",
        "label=GAMMA 28 % → 44 % of the candidates; shown beside BETA; a hint in its prompts; 1.5 times its share",
        "length=short its seeds shown 1.4 times as often 100",
        "No measurable effect of feedback: closed − static +0.5 points [−1.6, +2.6]; less than 3.1 would",
        "Filtering helps: closed − raw +13.5 points",
        "Transfer gap A made-up sentence on the transfer gap. dialect an AUC of 0.86 more shots",
        "dialect Can a linear classifier on embeddings tell synthetic rows from real anchors? AUC; .5 is chance. 0.86",
        "Worst slice of the 6 that have enough items: label=GAMMA , mixed 71.0 %",
        "label=ALPHA 300 70.0 % 82.0 % +12.0 points (+8.0 to +16.0) .030",
        "label=ALPHA & length=short 300 70.0 % 61.0 %",
        "2 of the 2 single slices with enough items",
        "c1 : “what is a test item ?”, “what was <b>it</b> ?”",
        "No sign of it: synthetic rows do not lie nearer to dev than to test.",
        "Score of mixed on dev − on test: +1.0 points (−2.0 to +4.0).",
        "Made-up evidence of round 2.",
        "+ <i>steered</i>",
        "Transfer gap +11.0 points, +7.0 to +15.0, n = 200",
        "Source gap +12.0",
        "Gap recovered 37.0 %",
        "dev has 300 items: differences below 5.1 points will not show.",
        "GAMMA gets 60 % more candidates",
        "GAMMA contrast shown beside BETA, with which it is confused 14 of 100 GAMMA items on dev were called BETA",
        "GAMMA hint Write about everything else.",
        "374 of 400 wanted rows after 3 waves",
        "duplicates near a seed 183",
        "consistency 0.91 0.18 0.83 120 seeds with planted wrong labels",
        "The judge may not drop data; its verdicts are only recorded.",
        "kappa's lower bound .15 is below .60",
        "Held to seeds, half of them with planted errors, n = 100.",
        "Cohen's κ 0.31 (0.15 to 0.47)",
        "Calibrated on 2,380 pairs of distinct seeds: 0.947",
        "whole run 140 20 2 42,000 19,000 $0.0250",
        "Kept test item of round 1, what is an alpha ?",
        "ALPHA → BETA",
        "consistency: relabel, labellers prefer BETA (0.81)",
        "duplicates: drop, near a seed (0.95); cosine .95 to real-0001",
        "label GAMMA, length long, style typos",
        "Left out before the split: exact duplicate 12, two labels 1.",
        "dataset dataset-0000000000000002",
        "over_generation: 3.0",
        "torch 2.13.0",
    ):
        assert words in text, words


def test_hashes_of_all_roles_are_there_in_full() -> None:
    page = render(make_run_report())
    assert set(page.attributes("code", "title")) == set(make_run_report().data.hashes.values())


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (0.07, "Mixed beat seeds only by 7.0 points of accuracy on the sealed test (79.8 % against 72.8 %, "
         "interval +4.9 to +9.1), which recovers 37 % of the gap to training on all real data; the run stopped after "
         "2 rounds: the round limit (2) is reached."),
        (-0.03, "Mixed did worse than seeds only, by 3.0 points of accuracy on the sealed test"),
        (0.01, "No clear difference on the sealed test: mixed is 1.0 points of accuracy above seeds only"),
        (-0.01, "No clear difference on the sealed test: mixed is 1.0 points of accuracy below seeds only"),
    ],
)  # fmt: skip
def test_headline_follows_the_interval(difference: float, expected: str) -> None:
    report = make_run_report(comparisons=(make_comparison("mixed", "seeds", difference),))
    assert headline(report).startswith(expected)
    assert headline(report).endswith("the run stopped after 2 rounds: the round limit (2) is reached.")


@pytest.mark.parametrize(
    ("difference", "half", "expected"),
    [(0.07, 0.02, "better"), (-0.07, 0.02, "worse"), (0.02, 0.02, "unclear"), (-0.02, 0.02, "unclear")],
)
def test_an_interval_that_touches_zero_is_unclear(difference: float, half: float, expected: str) -> None:
    assert module.verdict(make_comparison("mixed", "seeds", difference, half)) == expected


def test_headline_uses_the_metric_of_the_spec() -> None:
    spec = make_spec(evaluate={"metric": "macro_f1"}).model_dump(mode="json")
    other = replace(make_comparison("mixed", "seeds", 0.05), metric="macro_f1")
    report = make_run_report(spec=spec, comparisons=(make_comparison("mixed", "seeds", 0.07), other))
    assert headline(report).startswith("Mixed beat seeds only by 5.0 points of macro-F1")
    assert "(77.8 % against 70.8 %" in headline(report)
    assert "77.8 % macro-F1" in render(report).text


def test_headline_without_a_comparison_or_pool() -> None:
    report = make_run_report(comparisons=(), gap=make_gap(None), rounds=(make_round(1),), best_round=1)
    assert headline(report) == (
        "Whether mixed beats seeds only is not known, because the run holds no comparison of the two; the run stopped "
        "after 1 round: the round limit (2) is reached."
    )


def test_no_pool_means_a_reason_instead_of_a_number() -> None:
    report = make_run_report(gap=make_gap(None))
    assert "recovers" not in headline(report)
    text = render(report).text
    assert "Gap recovered No number: insufficient: the test set-up has no pool of real data" in text
    assert "of the way to all real data" not in text


def test_missing_pieces_are_said_and_nothing_breaks() -> None:
    bare = make_round(
        1, gate=None, calibration=None, worth=(), dev={}, comparisons=(), samples=(), funnel=(), seconds={}, adapters={}
    )
    bare = replace(bare, plan=replace(bare.plan, changes=(), guidance=()), cost=Cost())
    report = make_run_report(
        rounds=(bare,), best_round=1, test={}, comparisons=(), gap=make_gap(None), warnings=(), training_rows={},
        artefacts={}, versions={}, seconds={}, cost=Cost(), spec={},
    )  # fmt: skip
    text = render(report).text
    assert "The test split stayed sealed in this run" in text
    assert "No judge was used in this round." in text
    assert "No samples were recorded." in text
    assert "Mind this" not in text
    empty = render(replace(report, rounds=(), best_round=0)).text
    assert "No round was finished." in empty
    assert "Nothing was generated." in empty


LOOKS = (
    Opening("run-00000000000000aa", "split-00000000000000aa", "t", "x", 1, "2026-01-01T00:00:00+00:00"),
    Opening("an unknown run", "", "t", "", 2, ""),
    Opening(
        "run-00000000000000ff", "split-00000000000000aa", "t", "y", 3, "2026-01-02T04:00:00+00:00", "a <new> filter"
    ),
)


def test_looks_at_the_test_items_are_listed_and_further_ones_warned_of() -> None:
    text = render(make_run_report(openings=LOOKS)).text
    assert "They were looked at 2 times before." in text
    assert (
        "1 run-00000000000000aa 2026-01-01T00:00:00+00:00 first look "
        "2 an unknown run not on record none given "
        "3 run-00000000000000ff 2026-01-02T04:00:00+00:00 a <new> filter"
    ) in text
    assert "They were looked at 1 time before." in render(make_run_report(openings=LOOKS[:2])).text
    first = render(make_run_report(openings=LOOKS[:1])).text
    assert "first look" in first
    assert "Not the first look" not in first
    assert "Looks at these test items" not in render(make_run_report()).text


def test_a_run_that_left_the_test_sealed_says_so_and_tells_dev() -> None:
    report = make_run_report(test={}, comparisons=())
    assert headline(report).startswith("The test split stayed sealed; on dev, mixed reached 78.0 % of accuracy")
    assert "was opened at the end" not in render(report).text


def test_calibration_and_gate_without_numbers() -> None:
    one = make_round(1)
    assert one.gate is not None
    assert one.calibration is not None
    kappa = replace(NOTHING, note="every verdict was the same")
    gate = replace(one.gate, kappa=kappa, phi=None, psi=None, p_star=None, retest=None)
    calibration = replace(one.calibration, calibrated=None, false_positive_rate=None, n_pairs=3)
    text = render(make_run_report(rounds=(replace(one, gate=gate, calibration=calibration),), best_round=1)).text
    assert "Cohen's κ every verdict was the same." in text
    assert "Too few seed pairs (3) to calibrate it." in text


def test_the_used_round_is_marked_once_per_place() -> None:
    page = render(make_run_report(best_round=1))
    assert page.text.count(" used") - page.text.count("No judge was used") == 2
    assert [attributes for tag, attributes in page.tags if tag == "details" and "open" in attributes]


def test_a_megabyte_of_text_is_cut() -> None:
    sample = replace(make_samples(1)[0], text="long " * 200_000)
    html = module.render(make_run_report(rounds=(make_round(1, samples=(sample,)),), best_round=1), {})
    assert "… (1,000,000 characters)" in html
    assert len(html) < 100_000


def test_drop_reasons_are_grouped_by_filter_and_sorted() -> None:
    rows = (
        FunnelRow("a", {"label": "x"}, {}, {"judge: off topic": 1, "format: too short": 2, "format: empty": 3}),
        FunnelRow("b", {"label": "x"}, {}, {"format: too short": 4, "unexplained": 1, "leakage: never": 0}),
    )
    assert module.drop_reasons(rows) == {
        "judge": [("off topic", 1)],
        "format": [("too short", 6), ("empty", 3)],
        "other": [("unexplained", 1)],
    }


def test_samples_are_sorted_by_outcome_and_show_the_deciding_verdict() -> None:
    kept, relabelled, dropped, watched = make_samples(1)
    assert [module.outcome(each) for each in (kept, relabelled, dropped, watched)] == [
        "kept", "relabelled", "dropped", "kept",
    ]  # fmt: skip
    assert [each.filter for each in module.deciding(dropped)] == ["duplicates"]
    assert module.deciding(watched) == watched.verdicts


def test_failure_modes_are_shown_with_their_figures_and_what_they_rest_on() -> None:
    page = render(make_run_report())
    for said in (
        "Known failure modes",
        "Caution. Sycophancy: Synthetic rows hedge more than real ones do (hedging).",
        "2.00 (1.50 to 2.50), n =",
        "No alarm: no difference beyond chance.",
        "Cannot be told: 3 rows.",
        "Matters from 15 points.",
        "commonest: “perhaps <b>” 3",
    ):
        assert said in page.text
    quiet = make_run_report(modes=(make_mode(fired=False),))
    assert "Caution" not in render(quiet).text
    assert not any(line.startswith("Caution") for line in summary_lines(quiet))
    assert "Known failure modes" not in render(make_run_report(modes=())).text


def test_summary_lines_are_few_and_plain() -> None:
    lines = summary_lines(make_run_report())
    assert lines[0] == headline(make_run_report())
    assert (
        "  mixed      accuracy 79.8 % (76.8 to 82.8), macro-F1 77.8 % (74.8 to 80.8) (n = 1,000, 820 training rows)"
        in lines
    )
    assert "Gap recovered: 37.0 % (28.0 to 46.0)" in lines
    assert lines[-1] == "Stopped after 2 rounds: the round limit (2) is reached"
    assert lines[-2].startswith("Caution, sycophancy: Synthetic rows hedge more than real ones do (hedging).")
    assert len(lines) == 17
    assert not [line for line in lines if "\n" in line]


def test_summary_gives_the_reason_where_a_number_is_missing() -> None:
    assert "Source gap: insufficient: the test set-up has no pool of real data" in summary_lines(
        make_run_report(gap=make_gap(None))
    )


def test_secrets_are_taken_out_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "hunter2-hunter2")
    llm = {"generator": {"base_url": "https://me:pass-word@host/v1", "model": "m", "api_key_env": "TEST_KEY"}}
    report = make_run_report(
        spec=make_spec(llm=llm).model_dump(mode="json"),
        warnings=("key hunter2-hunter2 refused", "Authorization: Bearer abcdefgh12345678", "sk-abcdefghijklmnop1234"),
    )
    write_report(report, tmp_path)
    for name in ("report.html", "report.json"):
        content = (tmp_path / name).read_text(encoding="utf-8")
        for secret in ("hunter2", "pass-word", "abcdefgh1234", "sk-abcdefgh"):
            assert secret not in content, (name, secret)
        assert "https://[redacted]@host/v1" in content
        assert "TEST_KEY" in content


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"cannot write the report to .*file.*`harness report run-00000000000000ff`"):
        write_report(make_run_report(), tmp_path / "file")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (pages.percent(0.7284), "72.8 %"),
        (pages.percent(-0.041), "−4.1 %"),
        (pages.percent(None), "–"),
        (pages.points(0.07), "+7.0"),
        (pages.points(-0.07), "−7.0"),
        (pages.points(0.031, sign=False), "3.1"),
        (pages.interval(replace(make_estimate(0.5), low=None, high=None)), "50.0 %"),
        (pages.interval(NOTHING), NOTHING.note),
        (pages.interval(replace(NOTHING, note="")), "not available"),
        (pages.p_value(0.0004), "< .001"),
        (pages.p_value(0.041), ".041"),
        (pages.p_value(1.0), "1.000"),
        (pages.money(0), "$0"),
        (pages.money(0.025), "$0.0250"),
        (pages.money(1234.5), "$1,234.50"),
        (pages.duration(3.21), "3.2 s"),
        (pages.duration(59.7), "1 min 0 s"),
        (pages.duration(331.5), "5 min 32 s"),
        (pages.duration(7260), "2 h 1 min"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_controls_on_dev_say_that_dev_flatters_and_lack_what_is_not_known() -> None:
    none = replace(make_comparison("closed", "static", 0.0), difference=NOTHING)
    sides = (
        replace(make_side("closed", None), role=Role.DEV),
        replace(make_side("static", none), role=Role.DEV),
        replace(make_side("raw", None), role=Role.DEV),
    )
    text = render(make_run_report(test={}, comparisons=(), controls=sides)).text
    assert "Compared on dev, since the test stayed sealed: the rounds were steered by these items" in text
    assert "What each side scored, accuracy on dev" in text
    assert f"static – {NOTHING.note}" in text
    assert "raw – – – – –" in text
    assert "static. Not known: there is no comparison of closed with static." in text


@pytest.mark.parametrize(
    ("metric", "source"), [("accuracy", "exact McNemar's"), ("macro_f1", "a paired permutation test's")]
)
def test_the_page_says_whose_p_it_shows(metric: str, source: str) -> None:
    one, gain = (replace(make_comparison(*arms, 0.07), metric=metric) for arms in (("mixed", "seeds"), ("b", "a")))
    text = render(make_run_report(comparisons=(one,), rounds=(make_round(1), make_round(2, gain=gain)))).text
    assert f"p is {source}. No row is a claim" in text
    assert f"not claims; p is {source}." in text


def test_a_run_without_claims_or_gains_says_so() -> None:
    text = render(make_run_report(comparisons=(make_comparison("mixed", "seeds", 0.07),), rounds=(make_round(1),))).text
    assert "No row is a claim of this report." in text
    assert "Paired gains" not in text


@pytest.mark.parametrize(("difference", "says"), [(0.07, ""), (0.01, "bought nothing"), (-0.07, "did harm")])
def test_nothing_gained_is_said_on_the_page_and_in_the_terminal(difference: float, says: str) -> None:
    report = make_run_report(comparisons=(make_comparison("mixed", "seeds", difference),))
    page, lines = render(report).text, summary_lines(report)
    assert ("No gain shown." in page) == bool(says)
    assert says in page
    assert says in lines[1]
    assert lines[0] == headline(report)


@pytest.mark.parametrize(("sign", "sure", "unsure"), [(1, "helped", "have helped"), (-1, "did harm", "have done harm")])
def test_the_page_is_headed_by_what_the_adjusted_p_allows(sign: int, sure: str, unsure: str) -> None:
    for p_holm, says in ((0.0012, sure), (0.2, f"may {unsure}")):
        main = replace(make_comparison("mixed", "seeds", 0.07 * sign), p_holm=p_holm)
        assert f"Adding the synthetic data {says}" in render(make_run_report(comparisons=(main,))).text


def test_prompts_and_steering_with_markup_are_escaped() -> None:
    evil = "</pre><script>alert(1)</script>"
    plan = replace(make_round(2).plan, surplus={evil: 1.5}, channel={"BETA": {evil: 0.2}})
    dev = {"mixed": replace(make_eval("mixed", Role.DEV, 0.8), slices=(make_slice(f"label={evil}", 5, 0.5),))}
    gain = make_comparison(evil, "round 1", 0.02)
    rounds = (make_round(1), make_round(2, prompts={evil: evil}, plan=plan, dev=dev, gain=gain, evidence=(evil,)))
    control = replace(make_side(evil, make_comparison("closed", evil, 0.01)), about=evil)
    report = make_run_report(rounds=rounds, controls=(make_side("closed", None), control))
    html = module.render(report, {})
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 9
    assert f"+ {evil}" in Page(html).text


def test_added_and_removed_lines_are_marked_by_sign_and_by_colour() -> None:
    prompts = {"ALPHA": "Prompt for ALPHA\nnew"}
    html = module.render(make_run_report(rounds=(make_round(1), make_round(2, prompts=prompts))), {})
    assert '<span class="minus">− end\n</span>' in html
    assert '<span class="plus">+ new\n</span>' in html
    assert '<span class="same">  Prompt for ALPHA\n</span>' in html

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path

import pytest
from suite_cases import finish_suite, make_detail, make_suite

from harness.comparedetail import Detail
from harness.comparefigures import compare_figures, frontier
from harness.comparepage import render_comparison, write_comparison
from harness.comparison import Comparison, compare_suite
from harness.errors import StoreError
from harness.store import Store, read_json

RIGHT = {"base": {0: 70, 1: 72}, "better": {0: 90, 1: 93}, "<b>bold": {0: 69, 1: 72}}


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    store = Store(tmp_path / "runs")
    return compare_suite(make_suite(RIGHT, tmp_path), finish_suite(store, RIGHT), {("better", 9): "a & b"}, store)


def test_the_page_loads_nothing_and_escapes_everything(found: Comparison) -> None:
    page = render_comparison(found, make_detail(found), compare_figures(found))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    sha = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{sha}'" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#|\.\./run-)""", page)
    for raw in ("<script", "<b>bold", "<i>long", "<old>", "<new>"):
        assert raw not in page
    for escaped in ("&lt;script&gt;alert(1)", "&lt;b&gt;bold", "&lt;i&gt;long", "− &lt;old&gt;".replace("−", "-")):
        assert escaped in page
    assert "a &amp; b" in page


def test_every_part_of_the_comparison_is_on_the_page(found: Comparison) -> None:
    page = render_comparison(found, make_detail(found), compare_figures(found))
    for part in ("ranking", "cost", "specs", "funnels", "slices", "rows", "prompts", "runs"):
        assert f'<section id="{part}">' in page
        assert f'href="#{part}"' in page
    assert page.count("<img ") == 2
    for run in (run for line in found.lines for run in line.runs):
        assert f'href="../{run}/report.html"' in page
    assert "train.steps" in page
    assert "3 more differ less" in page


def test_a_suite_with_nothing_but_its_base_has_a_page(tmp_path: Path) -> None:
    store, right = Store(tmp_path / "runs"), {"base": {0: 70}}
    found = compare_suite(make_suite(right, tmp_path, (0,)), finish_suite(store, right), {}, store)
    page = render_comparison(found, Detail(0, {"base": {}}, (), (), 0, (), {}), compare_figures(found))
    assert "There is nothing but the base to compare." in page
    assert "<img " not in page


def test_the_same_comparison_gives_the_same_bytes_and_the_figures_come_back(found: Comparison, tmp_path: Path) -> None:
    store, suite = Store(tmp_path / "runs"), make_suite({"base": {}, "better": {}}, tmp_path)
    page = write_comparison(found, make_detail(found), suite, store)
    folder = page.parent
    assert folder == tmp_path / "runs" / "reports" / found.id
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.as_posix() for path in first} == {
        "compare.html", "compare.json", "figures/differences.png", "figures/pareto.png", "specs/base.yaml",
        "specs/better.yaml",
    }  # fmt: skip
    write_comparison(found, make_detail(found), suite, store)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    assert read_json(folder / "compare.json", Comparison) == found


def test_a_full_disk_is_one_clear_error(found: Comparison, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    (tmp_path / "runs" / "reports").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write the comparison"):
        write_comparison(found, make_detail(found), make_suite({"base": {}}, tmp_path), store)


@pytest.mark.parametrize(
    ("costs", "scores", "expected"),
    [
        ([1, 2, 3], [0.1, 0.2, 0.3], [0, 1, 2]),
        ([3, 2, 1], [0.1, 0.2, 0.3], [2]),
        ([1, 1, 1], [0.1, 0.3, 0.2], [1]),
        ([1, 2], [0.5, 0.5], [0]),
        ([], [], []),
    ],
)
def test_the_frontier_is_what_nobody_beats_in_both(
    costs: list[float], scores: list[float], expected: list[int]
) -> None:
    assert frontier(costs, scores) == expected

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.yamlfile import MAX_BYTES, MAX_DEPTH, dotted, inline, parse, read_text, to_yaml


def single(text: str) -> tuple[str, str, int | None]:
    problems = parse(text).problems
    assert len(problems) == 1, problems
    return problems[0].where, problems[0].message, problems[0].line


def test_plain_values_are_those_of_safe_load():
    text = "a: 1\nb: [true, null, 2.5, x y]\nc: {d: 'NO', e: \"1\"}\nf: |\n  two\n  lines\n"
    document = parse(text)
    assert document.value == yaml.safe_load(text)
    assert document.problems == []


def test_every_key_and_item_has_its_line():
    lines = parse("# note\na: 1\nb:\n  - x\n  - {c: 2}\n").lines
    assert lines == {(): 2, ("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 1): 5, ("b", 1, "c"): 5}


def test_windows_line_ends_do_not_shift_lines():
    assert parse("a: 1\r\nb: 2\r\n").lines[("b",)] == 2


@pytest.mark.parametrize(("text", "value"), [("2e-3", 0.002), ("1.5e3", 1500.0), ("-1E+2", -100.0), ("1.0e-05", 1e-05)])
def test_numbers_with_an_exponent_are_numbers_without_a_sign_or_a_point_too(text: str, value: float):
    assert parse(f"a: {text}").value == {"a": value}


@pytest.mark.parametrize("text", ["e3", "1e", "1e3x", "'2e-3'"])
def test_what_only_resembles_an_exponent_stays_text(text: str):
    assert isinstance(parse(f"a: {text}").value["a"], str)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 010", "the number 8; write 8"),
        ("a: 0x1F", "the number 31"),
        ("a: 12:30", "the number 750"),
        ("a: 1:30.5", "the number 90.5"),
        ("a: 2024-01-01", "as a date; put it in quotes"),
        ("a: .inf", "no finite number"),
        ("a: .nan", "no finite number"),
        ("a: 1e999", "no finite number"),
        ("a: 9223372036854775808", "no finite number below 2^63"),
        ("a: " + "9" * 5000, "5000 characters"),
        ("a: !!int abc", "'abc' is not a whole number"),
        ("a: !!bool abc", "'abc' is not a truth value"),
        ('a: "\\ud800"', "half a character"),
    ],
)
def test_values_that_yaml_reads_in_an_unexpected_way(text: str, words: str):
    where, message, line = single(text)
    assert (where, line) == ("a", 1)
    assert words in message


@pytest.mark.parametrize(
    ("key", "kind"), [("NO", "truth value"), ("1", "whole number"), ("~", "null"), ("1.5", "number")]
)
def test_keys_that_are_not_text_are_kept_as_written_and_reported(key: str, kind: str):
    document = parse(f"x: 1\n{key}: here\n")
    assert document.value == {"x": 1, key: "here"}
    assert document.problems[0].line == 2
    assert f"as a {kind}" in document.problems[0].message
    assert f"put it in quotes: '{key}'" in document.problems[0].message


def test_the_second_of_two_equal_keys_is_reported_with_the_line_of_the_first():
    document = parse("a: 1\nb: 2\na: 3\n")
    assert document.value == {"a": 1, "b": 2}
    assert [(p.where, p.line) for p in document.problems] == [("a", 3)]
    assert "the first is in line 1" in document.problems[0].message


@pytest.mark.parametrize("text", ["{{ x }}: 1", "? [a, b]\n: 1"])
def test_keys_that_are_lists_or_mappings(text: str):
    assert "cannot be a key" in single(text)[1]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "a: !!python/name:os.system ''",
        "a: !mine 1",
        "a: !!set {x}",
        "a: !!binary aGk=",
    ],
)
def test_tags_build_nothing_and_are_reported(text: str):
    where, message, _ = single(text)
    assert where == "a"
    assert "is not allowed; write plain values" in message


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("a:\n\tb: 1", "a tab stands", 2),
        ("a: 1\nb: c: d", "a ':' stands where no key can be", 2),
        ("a: 1\nb: 'x\n\n\n", "never closed", 2),
        ("a: 1\nb: [1, 2\n\n\n", "never closed", 2),
        ("a: 1\n---\nb: 2", "a second document", 2),
        ("a: 1\nb: @x", "has to stand in quotes", 2),
        ("a: *nowhere", "undefined alias 'nowhere'", 1),
        ("a: 1\nb: \x07", "'\\x07' is not allowed", 2),
        ("a: &x [*x]", "inside the value that it names", 1),
        ("a: &x {<<: *x}", "inside the value that it names", 1),
        ("a: {<<: &c {<<: *c}}", "inside the value that it names", 1),
        ("<<: 3", "takes over mappings only", 1),
        ("[" * 100_000, f"deeper than {MAX_DEPTH} levels", 1),
        ("{a: " * 100_000, f"deeper than {MAX_DEPTH} levels", 1),
    ],
)
def test_what_cannot_be_read_is_one_problem_with_its_line(text: str, words: str, line: int):
    document = parse(text)
    assert document.value is None
    assert [problem.line for problem in document.problems] == [line]
    assert words in document.problems[0].message


def test_the_deepest_nesting_that_is_taken():
    fits = "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1)
    assert parse(fits).problems == []
    assert parse(f"[{fits}]").problems != []


def test_aliases_and_merges_are_expanded():
    text = "a: &x {m: 1, n: 2}\nb: *x\nc: {<<: *x, n: 3}\nd: {n: 4, <<: [{n: 5, o: 6}, *x]}\n"
    document = parse(text)
    assert document.value == yaml.safe_load(text)
    assert document.lines[("c", "m")] == 1


def test_an_alias_bomb_is_stopped():
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12))
    assert "once its aliases" in single(f"l0: &l0 [x]\n{levels}\n")[1]


def test_a_bomb_of_mappings_that_take_each_other_over_is_stopped():
    levels = "\n".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 12))
    assert "once its aliases" in single(f"m0: &m0 {{a: 1}}\n{levels}\n")[1]


def test_dotted_quotes_what_is_no_plain_name():
    assert dotted(("matrix", "dimensions", 0, "values", "very long")) == 'matrix.dimensions[0].values."very long"'
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("data", "words", "line"),
    [
        (b"a: 1\nb: caf\xe9\n", "byte 0xe9 is not UTF-8", 2),
        ("a: 1".encode("utf-16"), "UTF-16", 1),
        (b"\xef\xbb\xbfa: 1", "without BOM", 1),
        (b"#" * (MAX_BYTES + 1), "larger than 1,000,000 bytes", None),
    ],
)
def test_files_that_are_no_small_utf8_text(tmp_path: Path, data: bytes, words: str, line: int | None):
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=words) as caught:
        read_text(path)
    assert [problem.line for problem in caught.value.problems] == [line]
    assert str(caught.value).startswith(f"{path}:")


def test_a_file_of_the_largest_size_is_read(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES


def test_a_missing_file_and_a_folder(tmp_path: Path):
    with pytest.raises(SpecError, match=r"none\.yaml: no such file; `harness init NAME` writes"):
        read_text(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="is a folder"):
        read_text(tmp_path)


scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e18, 1e18) | st.text()
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(trees)
def test_written_values_are_read_back(tree: object):
    for text in (to_yaml({"x": tree}), f"x: {inline(tree)}"):
        document = parse(text)
        assert document.problems == []
        assert document.value == {"x": tree}

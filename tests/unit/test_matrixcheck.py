from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from harness.generate.matrix import allowed
from harness.matrixcheck import dimensions, impossible, label_weights, rule_names
from harness.spec import Dimension, Matrix, Requirement

LABELS = {"A": "the first", "B": "the second"}
AXES = {"label": ["A", "B"], "x": ["1", "2", "3"], "y": ["1", "2"], "z": ["1", "2"]}


def matrix(forbid: list[dict[str, str | list[str]]]) -> Matrix:
    return Matrix(
        dimensions=[
            Dimension(name=name, values=dict.fromkeys(values, 1.0)) for name, values in AXES.items() if name != "label"
        ],
        forbid=forbid,
    )


def test_a_rule_that_names_only_a_label_takes_all_of_its_cells():
    (key, message), *rest = impossible(matrix([{"x": "1"}, {"label": "B"}]), LABELS)
    assert rest == []
    assert key == ("matrix", "forbid", 1)
    assert message == "no cell is left for label 'B': forbid[1] {label: B} rules out every combination"


def test_only_the_rules_that_matter_are_named():
    rules = [{"y": "1"}, {"label": "A", "x": ["1", "2"]}, {"z": "2"}, {"label": "A", "x": "3"}]
    ((key, message),) = impossible(matrix(rules), LABELS)
    assert key == ("matrix", "forbid", 1)
    assert message == (
        "no cell is left for label 'A': forbid[1] {label: A, x: ['1', '2']} and forbid[3] {label: A, x: '3'} "
        "together rule out every combination"
    )


def test_labels_with_the_same_fate_share_a_message():
    ((_, message),) = impossible(matrix([{"y": ["1", "2"]}]), LABELS)
    assert "labels 'A', 'B'" in message


values = st.lists(st.sampled_from(["1", "2", "3", "A", "B"]), min_size=1, unique=True)
mappings = st.dictionaries(st.sampled_from(sorted(AXES)), values, min_size=1)
requirements = st.builds(lambda when, then: Requirement(when=when, then=then), mappings, mappings)


@given(st.lists(mappings, max_size=6), st.lists(requirements, max_size=3))
def test_impossible_agrees_with_counting_all_cells_out(
    forbid: list[dict[str, str | list[str]]], require: list[Requirement]
):
    drawn = matrix(forbid).model_copy(update={"require": require})
    cells = [dict(zip(AXES, cell, strict=True)) for cell in product(*AXES.values())]
    free = {cell["label"] for cell in cells if allowed(cell, drawn)}
    stuck = {
        label for label in LABELS for _, text in impossible(drawn, LABELS) if f"'{label}'" in text[: text.index(":")]
    }
    assert stuck == set(LABELS) - free


def test_a_requirement_and_a_rule_that_contradict_each_other():
    drawn = matrix([{"y": "2"}, {"x": "3", "z": "2"}]).model_copy(
        update={"require": [Requirement(when={"label": "A"}, then={"x": ["1", "2"], "y": "2"})]}
    )
    ((key, message),) = impossible(drawn, LABELS)
    assert key == ("matrix", "forbid", 0)
    assert message == (
        "no cell is left for label 'A': forbid[0] {y: '2'} and require[0] {when: {label: A}, then: {x: ['1', '2'], "
        "y: '2'}} together rule out every combination"
    )


def test_many_dimensions_and_rules_are_no_search_through_all_cells():
    values = [str(n) for n in range(100)]
    big = Matrix(
        dimensions=[Dimension(name=f"d{n}", values=dict.fromkeys(values, 1.0)) for n in range(7)],
        forbid=[{f"d{n}": values[:99]} for n in range(7)],
    )
    assert list(impossible(big, LABELS)) == []


def test_names_of_rules():
    found = dict(rule_names(matrix([{"xx": "1"}, {"label": ["A", "b"]}, {"x": "4"}, {}, {"y": []}]), LABELS))
    assert (
        found[("matrix", "forbid", 0, "xx")] == "no dimension 'xx'; did you mean 'x'? Allowed: 'label', 'x', 'y', 'z'"
    )
    assert found[("matrix", "forbid", 1, "label")] == "no label 'b'; did you mean 'B'? Allowed: 'A', 'B'"
    assert found[("matrix", "forbid", 2, "x")] == "no value of 'x' '4'. Allowed: '1', '2', '3'"
    assert "is empty; name at least one" in found[("matrix", "forbid", 3)]
    assert "is empty; name at least one value" in found[("matrix", "forbid", 4, "y")]
    assert len(found) == 5
    wrong = Requirement(when={"labl": "A"}, then={"x": ["1", "9"]})
    found = dict(rule_names(matrix([]).model_copy(update={"require": [wrong]}), LABELS))
    assert "did you mean 'label'?" in found[("matrix", "require", 0, "when", "labl")]
    assert found[("matrix", "require", 0, "then", "x")].startswith("no value of 'x' '9'.")


def test_names_and_values_of_dimensions():
    drawn = Matrix(
        dimensions=[
            Dimension(name="label", values={"a": 1}),
            Dimension(name="x", values={"two\nlines": 1, " ": 1, "fine": 1}),
            Dimension(name="x", values={"a": 1}),
        ]
    )
    found = [(key[2:], message.split(";")[0]) for key, message in dimensions(drawn)]
    assert found == [
        ((0, "name"), "'label' is always the first dimension"),
        ((1, "values", "two\nlines"), "'two\\nlines' has line breaks or blanks around it"),
        ((1, "values", " "), "is blank"),
        ((2, "name"), "'x' is the name of an earlier dimension too"),
    ]


def test_weights_of_labels_that_do_not_exist():
    ((key, message),) = label_weights(Matrix(label_weights={"A": 2, "C": 1}), LABELS)
    assert key == ("matrix", "label_weights", "C")
    assert message == "no label 'C'. Allowed: 'A', 'B'"

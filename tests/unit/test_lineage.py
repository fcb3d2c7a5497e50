from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import make_eval, make_round, make_run_report

from harness.errors import StoreError
from harness.lineage import Node, ancestry, runs
from harness.llm.cache import CallCache
from harness.plaintext import one_line, printable
from harness.records import Candidate, Cell, Cost, Decision, Example, Origin, ParseFailure, Plan, Quota, Role, Verdict
from harness.reports import RunReport, SplitInfo
from harness.runlist import listing
from harness.seal import role_file, write_examples
from harness.store import Store, write_json, write_lines

CALL = "c" * 64
KEPT, MOVED, DROPPED, FAILED = "syn-0000000000a1", "syn-0000000000a2", "syn-0000000000a3", "syn-0000000000f1"
HIDDEN = "held-out words that nobody may read"
NASTY = "what is \x1b[31mred\x1b[0m [bold]x[/bold] ?"
CELL = Cell("label=A|tone=calm", {"label": "A", "tone": "calm"})


@dataclass(frozen=True)
class Small:
    """A store with one finished run of one round and two waves, and the ids in it."""

    store: Store
    ids: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.ids[name]


def example(ident: str, text: str, label: str, origin: Origin = Origin.REAL) -> Example:
    return Example(ident, text, label, {"label": label}, origin)


def candidate(ident: str, text: str, index: int, wave: int = 0) -> Candidate:
    own = example(ident, text, "A", Origin.SYNTHETIC)
    return Candidate(ident, CELL.id, own, 1, wave, CALL, index, ("real-seed1", "real-seed2"))


def make_split(store: Store, seeds: Mapping[str, str], name: str = "one", dev: str = "real-dev1") -> str:
    def build(folder: Path) -> None:
        roles = dict.fromkeys(Role, ()) | {
            Role.SEEDS: tuple(example(ident, text, "A") for ident, text in seeds.items()),
            Role.DEV: (example(dev, HIDDEN, "B"),),
            Role.TEST: (example("real-test1", HIDDEN, "B"),),
        }
        for role, examples in roles.items():
            write_examples(folder / role_file(role), examples)
        sizes = {role: len(examples) for role, examples in roles.items()}
        write_json(folder / "info.json", SplitInfo, SplitInfo("split-x", sizes, dict.fromkeys(Role, "0"), {}, {}))

    return store.once("split", 1, build, inputs={"name": name}, seed=7).id


def make_verdicts(store: Store, waves: list[str], verdicts: list[Verdict], **inputs: Any) -> str:
    def build(folder: Path) -> None:
        write_lines(folder / "verdicts.jsonl", Verdict, verdicts)
        write_lines(folder / "accepted.jsonl", Example, [example(KEPT, "who ?", "A", Origin.SYNTHETIC)])

    named = {"versions": {"format": 1, "duplicates": 1}, **inputs}
    parents = {f"wave {index}": wave for index, wave in enumerate(waves)}
    return store.once("verdicts", 1, build, inputs=named, parents=parents, seed=7).id


def make_candidates(
    store: Store, wave: int, rows: list[Candidate], failures: list[ParseFailure], **parents: str
) -> str:
    def build(folder: Path) -> None:
        write_lines(folder / "candidates.jsonl", Candidate, rows)
        write_lines(folder / "failures.jsonl", ParseFailure, failures)

    return store.once("candidates", 1, build, inputs={"wave": wave}, parents=parents, seed=7).id


def sieved(kept: str = "") -> list[Verdict]:
    """Verdicts on the three candidates; `kept` is what the last filter says of the first one."""
    near = "cosine 0.953 to real-seed1"
    return [
        Verdict(KEPT, "format", 1, Decision.KEEP, ""),
        Verdict(MOVED, "format", 1, Decision.RELABEL, "reads as B", 0.81, "B"),
        Verdict(DROPPED, "format", 1, Decision.KEEP, "", None),
        Verdict(KEPT, "duplicates", 1, Decision.KEEP, kept, 0.4),
        Verdict(MOVED, "duplicates", 1, Decision.KEEP, "", 0.3),
        Verdict(DROPPED, "duplicates", 1, Decision.DROP, "near duplicate", 0.953, evidence=near),
    ]


def make_dataset(store: Store, verdicts: str) -> str:
    def build(folder: Path) -> None:
        (folder / "data").mkdir()
        for name, size in (("train", 2), ("validation", 1)):
            pq.write_table(pa.table({"id": ["x"] * size}), folder / "data" / f"{name}.parquet")

    inputs = {"round": 1, "name": "factory-test"}
    return store.once("dataset", 1, build, inputs=inputs, parents={"verdicts": verdicts}).id


def make_adapter(store: Store, arm: str, **parents: str) -> str:
    card = f"---\n---\n# {arm} of factory-test (seed 7)\n\nTrained on 2 real and 3 synthetic rows, 40 steps of 32,\n"
    return store.once(
        "adapter",
        1,
        lambda folder: (folder / "README.md").write_text(card),
        inputs={"arm": arm},
        parents=parents,
        seed=7,
    ).id


def make_evaluation(store: Store, role: str, parents: Mapping[str, str]) -> str:
    scores = {
        "reports": {"mixed": {"n": 40, "accuracy": {"value": 0.75}}, "base": {"n": 40, "accuracy": {"value": None}}}
    }
    inputs = {"rule": {"metric": "accuracy"}, "role": role}
    return store.once(
        "evaluation",
        1,
        lambda folder: (folder / "scores.json").write_text(json.dumps(scores)),
        inputs=inputs,
        parents=parents,
        seed=7,
    ).id


def make_run(store: Store, artefacts: Mapping[str, str], plan: str, **changes: Any) -> str:
    done = make_round(1, plan_id=plan, dataset=artefacts["dataset"], adapters={}, is_best=True)
    report = make_run_report(rounds=(done,), best_round=1, artefacts=dict(artefacts), **changes)
    return store.once(
        "run",
        1,
        lambda folder: write_json(folder / "report.json", RunReport, report),
        inputs={"changes": repr(changes)},
    ).id


@pytest.fixture
def small(template: Small, tmp_path: Path) -> Small:
    shutil.copytree(template.store.root, tmp_path / "store")
    return Small(Store(tmp_path / "store"), template.ids)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Made once and copied for each test, because the store syncs every file."""
    store = Store(tmp_path_factory.mktemp("template"))
    ids = {"split": make_split(store, {"real-seed1": "who was first ?", "real-seed2": "who was \x1b]0;second ?"})}
    plan = Plan(1, (Quota(CELL, 8),), (), (ids["split"],), ("The first round follows the matrix.",))
    ids["plan"] = store.once(
        "plan",
        1,
        lambda folder: write_json(folder / "plan.json", Plan, plan),
        inputs={},
        parents={"parent 0": ids["split"]},
    ).id
    rows = [candidate(KEPT, NASTY, 0), candidate(MOVED, "who else ?", 1)]
    failure = ParseFailure(FAILED, CELL.id, 1, 0, CALL, 2, "cut off at max_tokens", "who was the")
    ids["wave 1"] = make_candidates(store, 0, rows, [failure], split=ids["split"], plan=ids["plan"])
    later = [candidate(DROPPED, "who was first then ?", 1, wave=1)]
    ids["wave 2"] = make_candidates(store, 1, later, [], split=ids["split"], plan=ids["plan"])
    ids["early"] = make_verdicts(store, [ids["wave 1"]], sieved("not the last word"))
    ids["verdicts"] = make_verdicts(store, [ids["wave 1"], ids["wave 2"]], sieved())
    ids["dataset"] = make_dataset(store, ids["verdicts"])
    ids["mixed"] = make_adapter(store, "mixed", split=ids["split"], dataset=ids["dataset"])
    ids["seeds"] = make_adapter(store, "seeds", split=ids["split"])
    arms = {"split": ids["split"], "mixed": ids["mixed"], "seeds": ids["seeds"]}
    ids["evaluation"] = make_evaluation(store, "test", arms)
    ids["dev"] = make_evaluation(store, "dev", arms)
    ids["probabilities"] = store.once(
        "probabilities",
        1,
        lambda folder: np.save(folder / "probabilities.npy", np.zeros((5, 3))),
        inputs={},
        parents={"adapter": ids["mixed"]},
    ).id
    artefacts = {name: ids[name] for name in ("dataset", "evaluation", "split")} | {"adapter/mixed": ids["mixed"]}
    ids["run"] = make_run(store, artefacts, ids["plan"])
    request = {
        "version": 1,
        "endpoint": {"base_url": "embedded", "weights": "abc", "model": "tiny"},
        "prompt": "Questions.\n\nQuestion: who was first ?\nQuestion:",
        **{"temperature": 0.9, "max_tokens": 40, "n": 3, "seed": 5, "top_p": None, "stop": ["\n"], "sample": 0},
    }
    answer = {"choices": [[NASTY, "stop"], [" who else ?", "stop"], ["who was the", "length"]]}
    with CallCache(store.root / "calls.sqlite") as cache:
        cache.put(CALL, request, answer, ids["run"], Cost(calls=1))
    return Small(store, ids)


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def fact(node: Node, name: str) -> str:
    return dict(node.facts)[name]


def child(node: Node, link: str) -> Node:
    (found,) = [one for one in node.children if one.link == link]
    return found


def everything(node: Node) -> str:
    return "\n".join(str([one.id, one.summary, one.facts]) for one in walk(node))


def test_a_model_goes_back_to_data_set_candidates_plan_and_split(small: Small):
    root = ancestry(small.store, small["mixed"])
    assert root.stage == "adapter"
    assert root.summary == "mixed of factory-test (seed 7): 2 real and 3 synthetic rows, 40 steps"
    assert {one.id for one in walk(root)} == {
        small[name] for name in ("mixed", "split", "dataset", "verdicts", "wave 1", "wave 2", "plan")
    }
    verdicts = child(child(root, "dataset"), "verdicts")
    assert [one.link for one in verdicts.children] == ["wave 0", "wave 1"]


def test_every_ancestor_is_expanded_once(small: Small):
    nodes = list(walk(ancestry(small.store, small["run"])))
    for ident in {node.id for node in nodes}:
        same = [node for node in nodes if node.id == ident]
        assert sum(bool(node.children) for node in same) <= 1
        assert all(not node.children for node in same if node.repeated)
    assert any(node.repeated for node in nodes)


def test_a_run_has_the_artefacts_of_its_report_as_parents(small: Small):
    root = ancestry(small.store, small["run"])
    assert [(one.link, one.id) for one in root.children] == [
        ("dataset", small["dataset"]),
        ("evaluation", small["evaluation"]),
        ("split", small["split"]),
        ("adapter/mixed", small["mixed"]),
    ]
    assert root.summary.startswith("factory-test, seed 7: 1 round(s), ended by: the round limit")
    assert "mixed 0.798" in root.summary
    assert "seeds 0.728" in root.summary


def test_summaries_say_what_each_stage_holds(small: Small):
    said = {node.stage: node.summary for node in walk(ancestry(small.store, small["run"])) if not node.repeated}
    said["probabilities"] = ancestry(small.store, small["probabilities"]).summary
    said["verdicts"] = ancestry(small.store, small["verdicts"]).summary
    assert said["split"] == "real items: 2 seeds, 1 dev, 1 test"
    assert said["plan"] == "round 1: 8 candidates in 1 cells. The first round follows the matrix."
    assert said["dataset"] == "synthetic rows of factory-test up to round 1: 2 for training, 1 kept from it"
    assert said["verdicts"] == "3 candidates through format, duplicates: 1 kept"
    assert said["evaluation"] == "accuracy on 40 test items: mixed 0.750, base –"
    assert said["probabilities"] == "p(label) of 5 texts for 3 labels"
    first = ancestry(small.store, small["wave 1"]).summary
    assert first == f"wave 1: 2 candidates (e.g. {KEPT}), 1 answers became none"


def test_the_beginning_of_an_id_is_enough_if_it_fits_one_only(small: Small):
    assert ancestry(small.store, small["dataset"][:12]).id == small["dataset"]
    with pytest.raises(StoreError, match="beginning of 2 ids"):
        ancestry(small.store, "adapter-")
    assert ancestry(small.store, KEPT[:-1] + "1").id == KEPT
    with pytest.raises(StoreError, match="beginning of 4 example ids"):
        ancestry(small.store, "syn-0000000000")


@pytest.mark.parametrize(
    "ident", ["", "nothing", "adapter-ffffffffffffffff", "syn-123", "real-nobody", "../x", "a" * 999]
)
def test_an_unknown_id_says_what_ids_look_like_and_lists_runs(small: Small, ident: str):
    with pytest.raises(StoreError) as caught:
        ancestry(small.store, ident)
    message = str(caught.value)
    assert "run-0123456789abcdef" in message
    assert "syn-0123456789ab" in message
    assert f"{small['run']} (factory-test, seed 7)" in message


def test_an_empty_store_says_that_it_has_no_run(tmp_path: Path):
    with pytest.raises(StoreError, match="no finished run"):
        ancestry(Store(tmp_path), "run-1")
    assert listing(Store(tmp_path)) == listing(Store(tmp_path / "other"))
    assert listing(Store(tmp_path)).runs == ()
    assert not (tmp_path / "calls.sqlite").exists()


@pytest.mark.parametrize("name", ["mixed", "wave 1", "plan", "split", "dev", "probabilities"])
def test_the_run_that_an_artefact_belongs_to_is_named(small: Small, name: str):
    assert fact(ancestry(small.store, small[name]), "belongs to") == f"{small['run']} (factory-test, seed 7)"


def test_an_artefact_of_no_finished_run_says_so(small: Small):
    other = make_adapter(small.store, "other", split=small["split"])
    assert fact(ancestry(small.store, other), "belongs to") == "no finished run"


def test_a_synthetic_example_goes_down_to_prompt_answer_and_seeds(small: Small):
    root = ancestry(small.store, KEPT)
    assert root.stage == "synthetic example"
    assert root.summary.startswith("kept as A")
    assert fact(root, "asked label") == "A"
    assert fact(root, "cell") == CELL.id
    assert fact(root, "asked in") == f"round 1, wave 1, answer 1 of call {CALL}"
    assert fact(root, "belongs to").startswith(small["run"])
    call = child(root, "call")
    assert (call.id, call.summary) == (CALL, "tiny at embedded")
    assert fact(call, "prompt") == "Questions.\n\nQuestion: who was first ?\nQuestion:"
    assert fact(call, "answer").endswith("(ended by: stop; 3 answers to this call)")
    assert fact(call, "sampling") == 'temperature 0.9, max_tokens 40, n 3, seed 5, sample 0, stop ["\\n"]'
    assert fact(call, "weights") == "abc"
    seeds = [one for one in root.children if one.link == "seed in the prompt"]
    assert [(one.id, one.summary) for one in seeds] == [("real-seed1", "A"), ("real-seed2", "A")]
    assert fact(seeds[0], "text") == "who was first ?"
    assert [one.id for one in root.children if one.stage == "candidates"] == [small["wave 1"]]


def test_every_filter_has_its_say_and_the_last_sieve_of_the_run_counts(small: Small):
    root = ancestry(small.store, KEPT)
    judged = child(root, "judged in")
    assert judged.id == small["verdicts"]
    assert judged.facts[:3] == (
        ("final label", "A"),
        ("format", "keep (version 1)"),
        ("duplicates", "keep (score 0.400; version 1)"),
    )
    dropped = ancestry(small.store, DROPPED)
    assert dropped.summary == "dropped by duplicates: near duplicate"
    said = fact(child(dropped, "judged in"), "duplicates")
    assert said == "drop: near duplicate (score 0.953; cosine 0.953 to real-seed1; version 1)"
    assert fact(child(dropped, "judged in"), "final label") == "none, it was dropped"


def test_a_relabelled_example_has_both_labels(small: Small):
    root = ancestry(small.store, MOVED)
    assert root.summary == "relabelled from A to B"
    assert fact(root, "asked label") == "A"
    assert fact(child(root, "judged in"), "final label") == "B"
    assert fact(child(root, "judged in"), "format") == "relabel to B: reads as B (score 0.810; version 1)"


def test_an_example_that_two_runs_judged_shows_both(small: Small):
    stricter = [*sieved()[:3], Verdict(KEPT, "duplicates", 1, Decision.DROP, "near duplicate", 0.9)]
    verdicts = make_verdicts(small.store, [small["wave 1"]], stricter, threshold=0.9)
    dataset = make_dataset(small.store, verdicts)
    make_run(small.store, {"dataset": dataset}, small["plan"], name="stricter", started="2030-01-01T00:00:00")
    root = ancestry(small.store, KEPT)
    assert [one.id for one in root.children if one.link == "judged in"] == [small["verdicts"], verdicts]
    assert root.summary == "kept as A; in another run dropped by duplicates: near duplicate"


def test_without_a_finished_run_the_sieve_that_none_replaced_counts(small: Small):
    shutil.rmtree(small.store.find(small["run"]).path)
    root = ancestry(small.store, KEPT)
    assert [one.id for one in root.children if one.link == "judged in"] == [small["verdicts"]]
    assert fact(root, "belongs to") == "no finished run"


def test_an_answer_that_became_no_candidate_says_why(small: Small):
    root = ancestry(small.store, FAILED)
    assert root.summary == "no candidate: cut off at max_tokens"
    assert fact(root, "answer") == "who was the"
    assert fact(child(root, "call"), "answer").startswith("who was the\n(ended by: length")


def test_a_row_kept_from_training_says_so(small: Small):
    ident = "syn-000000000014"
    wave = make_candidates(small.store, 5, [candidate(ident, "who ?", 0)], [], split=small["split"])
    make_verdicts(small.store, [wave], [Verdict(ident, "format", 1, Decision.KEEP, "")])
    assert ancestry(small.store, ident).summary == "kept as A; held back from training, for the transfer gap"


def test_a_candidate_that_no_filter_saw_says_so(small: Small):
    make_candidates(small.store, 6, [candidate("syn-00000000000b", "who ?", 0)], [], split=small["split"])
    assert ancestry(small.store, "syn-00000000000b").summary == "not judged by any filter yet"


@pytest.mark.parametrize("gone", ["row", "file"])
def test_a_call_that_is_not_in_the_cache_any_more_says_so(small: Small, gone: str):
    path = small.store.root / "calls.sqlite"
    if gone == "file":
        path.unlink()
    else:
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM calls")
        db.close()
    call = child(ancestry(small.store, KEPT), "call")
    assert "calls.sqlite" in call.summary
    assert call.facts == ()
    assert path.exists() is (gone == "row")


def test_chat_messages_are_printed_with_their_roles(small: Small):
    with CallCache(small.store.root / "calls.sqlite") as cache:
        request = {
            "endpoint": {"base_url": "https://x/v1", "model": "m"},
            "prompt": [["system", "Be."], ["user", "Go."]],
        }
        cache.put(CALL, request, {"choices": [["yes", ""]]}, "run-x", Cost())
    call = child(ancestry(small.store, KEPT), "call")
    assert fact(call, "prompt") == "[system]\nBe.\n[user]\nGo."
    assert fact(call, "answer") == "yes\n(ended by: unknown; 1 answers to this call)"


def test_a_seed_is_shown_with_its_text(small: Small):
    root = ancestry(small.store, "real-seed1")
    assert root.stage == "real example"
    assert root.facts == (("label", "A"), ("role", f"seeds in {small['split']}"), ("text", "who was first ?"))
    assert [one.id for one in root.children] == [small["split"]]


@pytest.mark.parametrize("ident", ["real-dev1", "real-test1"])
def test_a_held_out_text_is_never_printed(small: Small, ident: str):
    root = ancestry(small.store, ident)
    assert HIDDEN not in everything(root)
    assert fact(root, "label") == "B"
    assert fact(root, "text").startswith("not shown, because its role is ")


def test_a_seed_that_is_held_out_in_another_split_is_not_printed(small: Small):
    make_split(small.store, {"real-seed9": "who ?"}, "two", dev="real-seed1")
    root = ancestry(small.store, "real-seed1")
    assert "who was first" not in everything(root)
    assert HIDDEN not in everything(root)
    assert root.summary == "real, dev and seeds" or root.summary == "real, seeds and dev"


def test_what_data_and_models_wrote_cannot_steer_the_terminal(small: Small):
    for ident in (KEPT, "real-seed2"):
        shown = [text for node in walk(ancestry(small.store, ident)) for _, text in node.facts]
        assert not any("\x1b" in text for text in shown)
    assert fact(ancestry(small.store, KEPT), "text") == r"what is \x1b[31mred\x1b[0m [bold]x[/bold] ?"


def test_printable_shows_what_would_be_hidden():
    assert printable("a\x1b[2Jb\x07\x9b\u202ec\u200bd\r") == r"a\x1b[2Jb\x07\x9b\u202ec\u200bd\r"
    assert printable("two\r\nlines\tand\nmore") == "two\nlines    and\nmore"
    assert printable("Größe “Emma” 日本 👩‍🚀 –") == "Größe “Emma” 日本 👩‍🚀 –"
    assert one_line("a\n b" * 100, 9) == "a ba ba…"


def test_damaged_artefacts_are_flagged_wherever_they_stand(small: Small):
    (small.store.find(small["plan"]) / "plan.json").write_text("{}")
    (small.store.find(small["wave 2"]) / "manifest.json").write_text("{")
    (small.store.find(small["split"]) / "info.json").unlink()
    nodes = {node.id: node for node in walk(ancestry(small.store, small["mixed"])) if not node.repeated}
    assert nodes[small["plan"]].damaged == ("plan.json",)
    assert nodes[small["wave 2"]].damaged == ("manifest.json",)
    assert nodes[small["split"]].damaged == ("info.json",)
    assert nodes[small["plan"]].summary == "its files cannot be read"
    assert nodes[small["wave 1"]].damaged == ()


def test_a_parent_that_is_gone_stays_in_the_tree(small: Small):
    shutil.rmtree(small.store.find(small["plan"]).path)
    gone = child(child(child(child(ancestry(small.store, small["mixed"]), "dataset"), "verdicts"), "wave 0"), "plan")
    assert gone.id == small["plan"]
    assert gone.summary.startswith("not in this store")


def test_a_stage_that_is_new_is_still_shown(small: Small):
    other = small.store.once("collapse", 3, Path.exists, inputs={}, parents={"run": small["run"]}).id
    root = ancestry(small.store, other)
    assert (root.stage, root.summary) == ("collapse", "version 3")
    assert child(root, "run").id == small["run"]


def test_runs_are_listed_with_their_headline(small: Small):
    (line,) = listing(small.store).runs
    assert (line.id, line.name, line.seed, line.rounds) == (small["run"], "factory-test", 7, 1)
    assert line.stop == "the round limit (2) is reached"
    assert line.best_dev == "0.760 in round 1"
    assert line.test == "mixed 0.798, seeds 0.728, all_real 0.916 on 1,000 items; gap recovered 0.37"
    assert line.damaged == ()


def test_the_runs_are_a_tree_too(small: Small):
    (small.store.root / "artefacts" / "dataset" / ".part-abc").mkdir()
    root = runs(small.store)
    assert (root.stage, root.summary) == ("store", "1 finished run(s)")
    assert [text for name, text in root.facts if name == "unfinished"] == list(listing(small.store).unfinished)
    (run,) = root.children
    assert (run.id, run.stage) == (small["run"], "run")
    assert run.summary == "factory-test, seed 7: 1 round(s), ended by: the round limit (2) is reached"
    assert fact(run, "test").startswith("mixed 0.798")
    assert fact(run, "best dev") == "0.760 in round 1"


def test_the_headline_uses_the_metric_of_the_run(small: Small):
    spec = {"evaluate": {"metric": "macro_f1"}}
    test = {"mixed": replace(make_eval("mixed", Role.TEST, 0.8), macro_f1=make_eval("x", Role.TEST, 0.5).accuracy)}
    ident = make_run(small.store, {"dataset": small["dataset"]}, small["plan"], spec=spec, test=test)
    (line,) = [one for one in listing(small.store).runs if one.id == ident]
    assert line.test.startswith("mixed 0.500 on")
    assert line.best_dev == "0.740 in round 1"


def test_runs_are_listed_oldest_first(small: Small):
    old = make_run(small.store, {"dataset": small["dataset"]}, small["plan"], started="2001-01-01T00:00:00")
    assert [one.id for one in listing(small.store).runs] == [old, small["run"]]


def test_a_run_whose_report_is_damaged_is_listed_as_such(small: Small):
    (small.store.find(small["run"]) / "report.json").write_text("{")
    (line,) = listing(small.store).runs
    assert (line.id, line.damaged, line.seed) == (small["run"], ("report.json",), None)
    assert [(one.id, one.summary, one.damaged) for one in runs(small.store).children] == [
        (small["run"], "its report cannot be read", ("report.json",))
    ]
    root = ancestry(small.store, small["run"])
    assert (root.damaged, root.children) == (("report.json",), ())


def test_what_was_begun_and_not_finished_is_listed(small: Small):
    store = small.store
    said = listing(store).unfinished
    assert said == ("Artefacts of no finished run: 1 verdicts. A run that needs them finds them.",)
    with CallCache(store.root / "calls.sqlite") as cache:
        cache.spend("run-00000000000000aa", Cost(calls=12, prompt_tokens=1000, completion_tokens=500, usd=0.25))
        cache.spend("spec-00000000000000bb", Cost(calls=1))
    opening = {"run": "run-00000000000000aa", "split": "s", "test": "t", "decision": "d", "count": 1, "at": "now"}
    suite = {**opening, "run": "suite-00000000000000cc", "test": "u"}
    (store.root / "openings.jsonl").write_text(f"{json.dumps(opening)}\n{json.dumps(suite)}\n")
    (store.root / "artefacts" / "dataset" / ".part-abc").mkdir()
    begun, _, half = listing(store).unfinished
    assert begun.startswith("run-00000000000000aa is not finished: 12 calls, 1,500 tokens and $0.2500 spent.")
    assert "opened the test split" in begun
    assert half.startswith("1 half-written artefact")


def test_the_listing_survives_a_call_cache_that_it_cannot_read(small: Small):
    (small.store.root / "calls.sqlite").write_bytes(b"no database at all")
    before = sorted(path.name for path in small.store.root.iterdir())
    assert len(listing(small.store).runs) == 1
    assert sorted(path.name for path in small.store.root.iterdir()) == before

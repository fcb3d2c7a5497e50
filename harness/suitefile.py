"""Read a suite from YAML, with all problems at once and their lines, before anything runs.

A variant is the base's spec with some keys replaced, checked as any other spec is. What would make a comparison
meaningless is refused here: another split, another metric, a variant that changes nothing, two that are the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, SpecError
from harness.spec import Spec
from harness.specfile import Override, base_folder, load, resolved, split_key
from harness.specwords import show, suggest
from harness.store import canonical
from harness.suitespec import ALLOWED, BASE, Suite
from harness.yamlfile import Document, Key, dotted, inline, parse, read_text

FIXED: dict[tuple[str, ...], str] = {
    ("name",): "is the same for all variants; a variant is known by its own name",
    ("seed",): "is the suite's: list seeds under `seeds`",
    ("data",): "is the same for all variants, so that all are scored on the same real items; change it in the base",
    ("task",): "is the same for all variants, so that all are scored on the same labels; change it in the base",
    ("runtime",): "cannot change a result; set it in the base or with `--set`",
    ("budget",): "cuts a run short, and what another variant has paid is free: the order of the runs would decide on "
    "the result. Set it in the base for all of them",
    ("evaluate", "test"): "is the suite's: it compares on dev and opens the test with `--open-test`",
    ("evaluate", "metric"): "is the same for all variants; set it in the base or under `set`",
}
"""Keys that no variant may override, and why."""
NOT_FOR_ALL = (("seed",), ("evaluate", "test"))
"""Fixed keys that the suite itself sets."""
ALL_MAY_SET = (("data",), ("task",), ("runtime",), ("budget",), ("evaluate", "metric"))
"""Fixed keys that `set` may override, because it is for all alike."""
SEALED = Override("the suite", ("evaluate", "test"), Document(value=False, raw={(): "false"}))
MOST_VARIANTS = 200


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the comparison. `changes` are dotted keys with the values that differ from the base's; `specs` one
    spec a seed, test sealed."""

    name: str
    changes: Mapping[str, str]
    specs: Mapping[int, Spec]


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """A suite that may run: `variants` begins with the base. `folder` is where the base's relative paths start;
    `notes` say what of the grid stands for the base itself."""

    name: str
    path: Path
    folder: Path
    arm: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    notes: tuple[str, ...]

    @property
    def base(self) -> Variant:
        return self.variants[0]


@dataclass
class _Reader:
    """A suite's file on its way to specs: its document and the problems found so far."""

    path: Path
    document: Document
    problems: list[Problem] = field(default_factory=list[Problem])

    def note(self, key: Key, message: str) -> None:
        line = next(
            (self.document.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.document.lines), None
        )
        self.problems.append(Problem(dotted(key), message, line))

    def stop_if_bad(self) -> None:
        found = [*self.document.problems, *self.problems]
        if found:
            raise SpecError(str(self.path), sorted(found, key=lambda one: one.line or 10**9))


def load_suite(path: Path, overrides: Sequence[str] = ()) -> LoadedSuite:
    """The suite in a YAML file; `overrides` (`a.b=value`) go to all of its specs, as `--set` does for one.

    Raises `SpecError` with every problem of the suite and of the specs that it makes.
    """
    document = parse(read_text(path))
    reader = _Reader(path, document)
    if not isinstance(document.value, dict):
        reader.stop_if_bad()
        raise SpecError(str(path), [Problem("", "holds no `key: value` lines; a suite begins with `base: …`", 1)])
    if "task" in document.value and "base" not in document.value:
        message = "is an experiment and no suite; run it with `harness run`, or name it as `base:` in a suite's file"
        raise SpecError(str(path), [Problem("", message, 1)])
    suite = _validated(reader)
    for text in overrides:
        key = split_key(text.partition("=")[0])
        if key in NOT_FOR_ALL:
            reader.problems.append(Problem(f"--set {dotted(key)}", FIXED[key]))
    reader.stop_if_bad()
    base = path.parent / suite.base
    if not base.is_file():
        reader.note(
            ("base",), f"{str(suite.base)!r} is no file, seen from the suite's folder; name an experiment's YAML file"
        )
        reader.stop_if_bad()
    common = _leaves(reader, ("set",), suite.set, FIXED.keys() - set(ALL_MAY_SET))
    named = {name: _leaves(reader, ("variants", name), tree, FIXED.keys()) for name, tree in suite.variants.items()}
    named |= _grid(reader, suite, named)
    _count(reader, named)
    reader.stop_if_bad()
    # The base's own problems first: they would come back with every variant.
    first = [*overrides, *common, _seed(suite.seeds[0]), SEALED]
    plain = _load(reader, base, first, "")
    reader.stop_if_bad()
    specs = {
        name: _load(reader, base, [*overrides, *common, *own, _seed(suite.seeds[0]), SEALED], name)
        for name, own in named.items()
    }
    reader.stop_if_bad()
    if plain is None:
        raise AssertionError("a spec that did not load left no problem")
    known = {name: spec for name, spec in specs.items() if spec is not None}
    kept, notes = _distinct(reader, plain, known, set(suite.variants))
    reader.stop_if_bad()
    every = {BASE: plain, **kept}
    return LoadedSuite(
        name=suite.name or path.stem,
        path=path,
        folder=base_folder(base),
        arm=suite.arm,
        seeds=tuple(suite.seeds),
        variants=tuple(
            Variant(
                name, differences(plain, spec), {seed: spec.model_copy(update={"seed": seed}) for seed in suite.seeds}
            )
            for name, spec in every.items()
        ),
        notes=tuple(notes),
    )


def chosen(suite: LoadedSuite, only: Sequence[str]) -> LoadedSuite:
    """The suite with the base and the variants of these names; all of them where none is named. Raises `SpecError`."""
    names = [one.name for one in suite.variants]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise SpecError(
            str(suite.path),
            [
                Problem(
                    "variants",
                    f"--only {name!r}: there is no such variant{suggest(name, names)}. There are: {', '.join(names)}",
                )
                for name in unknown
            ],
        )
    kept = [one for one in suite.variants if not only or one.name in (BASE, *only)]
    return replace(suite, variants=tuple(kept))


def differences(base: Spec, spec: Spec) -> dict[str, str]:
    """Dotted key → value in one line of YAML, of everything in which a spec that is run differs from the base."""
    before, after = dict(_flat((), resolved(base))), dict(_flat((), resolved(spec)))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {dotted(key): inline(after[key]) if key in after else "(none)" for key in keys}


def _flat(key: Key, value: Any) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat((*key, name), inner)
    else:
        yield key, value


def _validated(reader: _Reader) -> Suite:
    try:
        suite = Suite.model_validate_json(json.dumps(reader.document.value), strict=True)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            reader.note(*_in_words(found))
        reader.stop_if_bad()
        raise
    if BASE in suite.variants:
        reader.note(
            ("variants", BASE), "stands for the base itself, which always runs; call the variant something else"
        )
    if len(set(suite.seeds)) < len(suite.seeds):
        reader.note(("seeds",), f"{suite.seeds!r} holds a number twice; give {ALLOWED['seeds']}")
    return suite


def _in_words(error: Mapping[str, Any]) -> tuple[Key, str]:
    loc: Key = tuple(part for part in error["loc"] if part != "[key]")
    top = str(loc[0]) if loc else ""
    if error["type"] == "extra_forbidden":
        return loc, f"unknown key {top!r}{suggest(top, list(ALLOWED)) or '.'} Allowed: {', '.join(map(repr, ALLOWED))}"
    if error["type"] == "missing":
        return loc, f"is missing; write {ALLOWED[top]}"
    shown = str(loc[-1]) if "[key]" in error["loc"] else error["input"]
    return loc, f"{show(shown)} is not allowed here; write {ALLOWED.get(top, 'a value')}"


def _leaves(reader: _Reader, place: Key, tree: Mapping[str, Any], fixed: Any) -> list[Override]:
    """The single values of nested mappings and dotted keys, as overrides; those of fixed keys are problems."""
    found: list[Override] = []
    for key, origin, value in _walk(reader, place, (), tree):
        reason = next((FIXED[key[: len(one)]] for one in fixed if key[: len(one)] == one), None)
        if reason is not None:
            reader.note(origin, f"{dotted(key)} {reason}")
            continue
        if any(one.key == key for one in found):
            reader.note(origin, f"{dotted(key)} is set twice here; remove one of them")
            continue
        raw = {
            inner[len(origin) :]: text for inner, text in reader.document.raw.items() if inner[: len(origin)] == origin
        }
        found.append(Override(dotted(origin), key, Document(value=value, raw=raw)))
    return found


def _walk(
    reader: _Reader, origin: Key, key: tuple[str, ...], tree: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Key, Any]]:
    """(key in the spec, key in the suite, value) of each leaf."""
    for name, value in tree.items():
        parts, here = split_key(name), (*origin, name)
        if not parts:
            reader.note(here, f"{name!r} is no key; write a.b.c, a part with dots or blanks in double quotes")
        elif isinstance(value, dict) and value:
            yield from _walk(reader, here, (*key, *parts), value)
        else:
            yield (*key, *parts), here, value


def _grid(reader: _Reader, suite: Suite, taken: Mapping[str, Any]) -> dict[str, list[Override]]:
    """A variant per combination of the grid's values, named by them."""
    axes: list[list[tuple[str, list[Override]]]] = []
    names = _short_names([split_key(name) for name in suite.grid])
    for short, (name, values) in zip(names, suite.grid.items(), strict=True):
        own: list[tuple[str, list[Override]]] = []
        for index, value in enumerate(values):
            found = _leaves(reader, ("grid",), {name: value}, FIXED.keys())
            # One value of the list is meant, which stands in a place of its own.
            place = dotted(("grid", name, index))
            own.append((f"{short}={_value_name(value)}", [Override(place, one.key, one.value) for one in found]))
        axes.append(own)
    if not axes:
        return {}
    points = {
        ",".join(name for name, _ in point): [one for _, overrides in point for one in overrides]
        for point in itertools.product(*axes)
    }
    if len(points) < len(list(itertools.product(*axes))):
        reader.note(("grid",), "two of its combinations are the same; name each value once")
    for name in points.keys() & taken.keys():
        reader.note(("variants", name), "is also the name of a combination of the grid; choose another")
    return points


def _short_names(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """The shortest ends of the keys that tell them apart, e.g. `judge.enabled` and `format.enabled`."""
    out: list[str] = []
    for key in keys:
        sizes = range(1, len(key) + 1)
        size = next((n for n in sizes if sum(other[-n:] == key[-n:] for other in keys) == 1), len(key))
        out.append(".".join(key[-size:]))
    return out


def _value_name(value: object) -> str:
    """A value as a part of a name: `[quotas, contrast]` is `quotas+contrast`."""
    text = "+".join(map(str, value)) if isinstance(value, list) and value else inline(value)
    kept = "".join(letter if letter.isalnum() or letter in "._+-" else "-" for letter in text).strip("-")
    return kept[:40] or "none"


def _count(reader: _Reader, named: Mapping[str, object]) -> None:
    if not named:
        reader.note(("variants",), "there is nothing to compare; give `variants` or a `grid`")
    if len(named) > MOST_VARIANTS:
        reader.note(("grid",), f"{len(named)} variants are more than the {MOST_VARIANTS} that one suite may have")


def _seed(seed: int) -> Override:
    return Override("seeds", ("seed",), Document(value=seed, raw={(): str(seed)}))


def _load(reader: _Reader, base: Path, overrides: Sequence[str | Override], variant: str) -> Spec | None:
    """The spec of a variant ("" for the base); its problems become the suite's, at the place of the override."""
    places = {one.name for one in overrides if isinstance(one, Override)}
    try:
        return load(base, overrides)
    except SpecError as error:
        for found in error.problems:
            if found.where in places:
                key = _place_of(reader.document, found.where)
                reader.problems.append(Problem(found.where, found.message, reader.document.lines.get(key)))
            elif variant:
                message = f"with these overrides {base.name} is refused: {found.render(base.name)}"
                reader.note(
                    ("variants", variant) if ("variants", variant) in reader.document.lines else ("grid",), message
                )
            else:
                raise
    return None


def _place_of(document: Document, where: str) -> Key:
    return next((key for key in document.lines if dotted(key) == where), ())


def _distinct(
    reader: _Reader, base: Spec, specs: Mapping[str, Spec], written: set[str]
) -> tuple[dict[str, Spec], list[str]]:
    """The variants that are runs of their own. One that somebody wrote and that is the base, or another one, is a
    problem; the combination of a grid that is the base is left out with a note."""
    kept: dict[str, Spec] = {}
    notes: list[str] = []
    seen = {canonical(_identity(base)): BASE}
    for name, spec in specs.items():
        same = seen.setdefault(canonical(_identity(spec)), name)
        if same == name:
            kept[name] = spec
        elif name not in written:
            notes.append(f"{name} of the grid is the same as {same} and is not run twice.")
        elif same == BASE:
            reader.note(
                ("variants", name), "changes nothing: it is the base, which always runs. Remove it, or change a key"
            )
        else:
            reader.note(("variants", name), f"is the same as {same!r}. Remove one of them")
    return kept, notes


def _identity(spec: Spec) -> dict[str, Any]:
    return {name: value for name, value in resolved(spec).items() if name != "collapse"}

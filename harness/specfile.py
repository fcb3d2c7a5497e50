"""Read a spec from YAML, with all problems of the file at once, each with its line; and write a spec back.

`load` is the way in. `resolved` is what a run is identified by, `dump` what a person reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, SpecError
from harness.matrixcheck import value_lists
from harness.spec import Evaluate, FileSource, SavedSource, Section, Spec
from harness.speccheck import NEEDS_POOL, Site, check
from harness.specwords import Finding, fill_sections, findings, looks_secret
from harness.yamlfile import Document, Key, dotted, parse, read_text, to_yaml


@dataclass(frozen=True, slots=True)
class Override:
    """A value that is put at a key; `name` is what problems with it are called, `value` what `yamlfile.parse` read."""

    name: str
    key: tuple[str, ...]
    value: Document


_PART = re.compile(r'(?:"([^"]*)"|([^\s."=\[\]]+))([.=])')


def load(path: Path, overrides: Sequence[str | Override] = ()) -> Spec:
    """The spec in a YAML file, after `--set` overrides such as `stop.max_rounds=3` or `evaluate.arms=[seeds, mixed]`,
    in order.

    An override's value is YAML and replaces what stands at its key, which need not be in the file; a part
    of the key that holds dots or blanks stands in double quotes: `matrix.label_weights."very good"=2`.
    Where `evaluate.arms` is not written and there is no pool of real items, the arms that need one are left out.

    Raises `SpecError` with every problem found in the file and in the overrides.
    """
    document = parse(read_text(path))
    if document.value is None and document.problems:
        raise SpecError(str(path), document.problems)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "holds no `key: value` lines"
        raise SpecError(str(path), [Problem("", f"{what}; a spec begins with `name: …` (see `harness init`)", 1)])
    if "base" in document.value and {"variants", "grid"} & document.value.keys():
        raise SpecError(str(path), [Problem("", "is a suite of variants; run it with `harness compare`", 1)])
    draft = _Draft(document)
    for override in overrides:
        if isinstance(override, Override):
            draft.put(override.key, override.value, override.name)
        else:
            draft.override(override)
    tree = _with_arms(fill_sections(document.value))
    draft.add(value_lists(tree, document.raw))
    spec, broken = _validate(tree, draft)
    draft.add(check(Site(spec, base_folder(path), tree), broken))
    if draft.problems:
        raise SpecError(str(path), sorted(draft.problems, key=lambda problem: problem.line or 10**9))
    return spec


def base_folder(path: Path) -> Path:
    """The folder that relative paths in a YAML file start at: the file's own."""
    return path.resolve().parent


def resolved(spec: Spec) -> dict[str, Any]:
    """What identifies a run, as plain JSON values: the complete spec without `runtime`.

    Of an absolute path to data or to a model only the last part is kept, so that no id depends on where a folder
    lies on one machine. A path says nothing about a file's content: keys add the content's hash.
    """
    values = spec.model_dump(mode="json", exclude={"runtime"})
    source = spec.data.source
    if isinstance(source, FileSource | SavedSource):
        values["data"]["source"]["path"] = _portable(source.path.as_posix())
    if spec.filters.judge.human_labels is not None:
        values["filters"]["judge"]["human_labels"] = _portable(spec.filters.judge.human_labels.as_posix())
    values["train"]["model"] = _portable(spec.train.model)
    values["causal"]["model"] = _portable(spec.causal.model)
    # How often a training is saved cannot change it.
    del values["causal"]["checkpoint_every"]
    for endpoint in values["llm"].values():
        # Where the key is kept cannot change an answer.
        del endpoint["api_key_env"]
    return values


def dump(spec: Spec) -> str:
    """The complete spec, defaults and `runtime` included, as YAML text that `load` reads back to an equal spec."""
    return to_yaml(spec.model_dump(mode="json"))


def _portable(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


@dataclass
class _Draft:
    """A parsed file on its way to a spec: overrides are applied, findings become problems with their place."""

    document: Document
    overridden: dict[Key, str] = field(default_factory=dict[Key, str])
    created: dict[Key, str] = field(default_factory=dict[Key, str])

    @property
    def problems(self) -> list[Problem]:
        return self.document.problems

    def add(self, found: Iterable[Finding]) -> None:
        """Note findings, save those about a value that already has a problem of its own."""
        fresh = [(key, message) for key, message in found if key not in self.document.reported]
        for key, message in fresh:
            self.problems.append(self._problem(key, message))
            self.document.reported.add(key)

    def override(self, text: str) -> None:
        text = text.encode("utf-8", "replace").decode("utf-8")
        name = f"--set {_shown(text)}"
        key, value_text = _split_override(text)
        if not key:
            message = "is not of the form a.b=value; a part with dots or blanks stands in double quotes"
            self.problems.append(Problem(name, message))
            return
        if not value_text.strip():
            self.problems.append(Problem(name, "has no value; to leave a key open write null"))
            return
        parsed = parse(value_text)
        if parsed.problems:
            self.problems.extend(Problem(name, problem.message) for problem in parsed.problems)
            return
        self.put(key, parsed, name)

    def put(self, key: tuple[str, ...], parsed: Document, name: str) -> None:
        tree = self.document.value
        for depth, part in enumerate(key[:-1], start=1):
            if tree.get(part) is None:
                tree[part] = {}
                self.created[key[:depth]] = name
            tree = tree[part]
            if not isinstance(tree, dict):
                place = dotted(key[:depth])
                message = f"{place} holds no keys; set it as a whole, e.g. `--set {place}=[a, b]`"
                self.problems.append(Problem(name, message))
                return
        tree[key[-1]] = parsed.value
        document = self.document
        for known in (document.lines, document.raw):
            for old in [old for old in known if old[: len(key)] == key]:
                del known[old]
        document.raw.update({(*key, *inner): raw for inner, raw in parsed.raw.items()})
        self.overridden[key] = name

    def _problem(self, key: Key, message: str) -> Problem:
        if key in self.created:
            return Problem(self.created[key], message)
        for length in range(len(key), -1, -1):
            origin = self.overridden.get(key[:length])
            if origin is not None:
                return Problem(origin, message if length == len(key) else f"{dotted(key)} {message}")
            if key[:length] in self.document.lines:
                return Problem(dotted(key), message, self.document.lines[key[:length]])
        return Problem(dotted(key), message)


def split_key(text: str) -> tuple[str, ...]:
    """The parts of a dotted key as `--set` takes it; none where the text has another form.

    >>> split_key('matrix.label_weights."very good"')
    ('matrix', 'label_weights', 'very good')
    """
    return _split_override(f"{text}=")[0]


def _split_override(text: str) -> tuple[tuple[str, ...], str]:
    """`a."x y".b=1` → (("a", "x y", "b"), "1"); an empty key where the text has another form."""
    parts: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        parts.append(match.group(1) if match.group(1) is not None else match.group(2))
        position = match.end()
        if match.group(3) == "=":
            return tuple(parts), text[position:]
    return (), ""


def _shown(override: str) -> str:
    """An override as messages repeat it: without its value where that may be a key or a password."""
    name, _, value = override.partition("=")
    secret = re.search(r"(?i)key|token|secret|password", name.rsplit(".", 1)[-1]) or looks_secret(value) or "@" in value
    value = "…" if secret else value
    return f"{name}={value if len(value) <= 60 else value[:57] + '…'}" if "=" in override else name[:60]


def _with_arms(tree: Any) -> dict[str, Any]:
    evaluate = tree.get("evaluate", {})
    data = tree.get("data")
    split = data.get("split") if isinstance(data, dict) else None
    pool = split.get("pool") if isinstance(split, dict) else None
    if not isinstance(evaluate, dict) or "arms" in evaluate or pool:
        return tree
    arms = [arm for arm in Evaluate().arms if arm not in NEEDS_POOL]
    return {**tree, "evaluate": {**evaluate, "arms": arms}}


def _validate(tree: Mapping[str, Any], draft: _Draft) -> tuple[Spec, set[str]]:
    """The spec and the names of the sections that are malformed and stand in it with their defaults or not at all.

    Validated as JSON and strictly: YAML has said what is text and what a number, nothing is turned into another type.
    """
    try:
        return Spec.model_validate_json(json.dumps(tree), strict=True), set()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        draft.add(findings(errors, tree, draft.document.raw))
    broken = {str(item["loc"][0]) for item in errors}
    parts: dict[str, Any] = {}
    for name, info in Spec.model_fields.items():
        if name in broken or name not in tree:
            continue
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            parts[name] = section.model_validate_json(json.dumps(tree[name]), strict=True)
        else:
            parts[name] = tree[name]
    return Spec.model_construct(**parts), broken

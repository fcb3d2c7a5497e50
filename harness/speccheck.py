"""What has to hold between the keys of a spec, beyond the type of each: one small function a rule, one visible table.

A check gets the spec with defaults filled in and yields every violation. It runs only when the sections
it needs are well-formed, so a typo in `train` does not hide an impossible matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eval.outcomes import ANSWER_METRICS, METRICS
from harness import judgecheck, matrixcheck
from harness.answers import schema_fault
from harness.cells import asks_judge
from harness.spec import MADE_OFF, Endpoint, FileSource, Matrix, SavedSource, Spec
from harness.specwords import Finding, looks_secret, one_of, show, suggest
from harness.tables import ENDINGS
from harness.yamlfile import Key

NEEDS_POOL = ("real", "all_real")
"""Arms that train on real items beyond the seeds."""
NEEDED_ARMS = ("seeds", "mixed")
"""Arms without which there is no gap to report."""
EMBEDDED_MODEL = Endpoint().model
EMBEDDED_ANSWERS = 16
"""The embedded LLM's slots (`llm/embedded.py`), and so the most answers of one call."""
MAX_SEED = 2**32 - 1
"""NumPy's legacy generators, which libraries still seed, take no larger one."""


@dataclass(frozen=True)
class Site:
    """A spec, the folder that its paths start at, and the tree it was read from: which keys stand in the file."""

    spec: Spec
    folder: Path
    tree: Mapping[str, Any]

    def written(self, *key: str) -> bool:
        value: Any = self.tree
        for part in key:
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True


def check(site: Site, broken: Collection[str]) -> Iterator[Finding]:
    """All violations in the sections that are not `broken`."""
    for needs, rule in _CHECKS:
        if not any(section in broken for section in needs):
            yield from rule(site)


def _seeds_of_chance(site: Site) -> Iterator[Finding]:
    split_seed = site.spec.data.split.seed or 0
    for key, seed in ((("seed",), site.spec.seed), (("data", "split", "seed"), split_seed)):
        if seed > MAX_SEED:
            yield key, f"{seed} is not a whole number from 0 to {MAX_SEED}"


def _task(site: Site) -> Iterator[Finding]:
    yield from matrixcheck.one_line(("task", "noun"), site.spec.task.noun)
    for label, description in site.spec.task.labels.items():
        yield from matrixcheck.one_line(("task", "labels", label), label)
        yield from matrixcheck.one_line(("task", "labels", label), description)


def _answer(site: Site) -> Iterator[Finding]:
    rule = site.spec.task.answer
    if rule is None:
        return
    for name in ("about", "noun", "context"):
        if getattr(rule, name) is not None:
            yield from matrixcheck.one_line(("task", "answer", name), getattr(rule, name))
    if rule.json_schema is not None and (fault := schema_fault(rule.json_schema)):
        yield ("task", "answer", "json_schema"), f"this is no JSON schema: {fault}"
    if rule.kind_field is not None and rule.json_schema is None:
        yield ("task", "answer", "kind_field"), "a field needs structured answers: give `json_schema` too"


def _metric(site: Site) -> Iterator[Finding]:
    metric, rule = site.spec.evaluate.metric, site.spec.task.answer
    allowed = (
        [*METRICS] if rule is None else [one for one in ANSWER_METRICS if rule.json_schema or one != "json_fields"]
    )
    if metric not in allowed:
        why = "the task gives labels" if rule is None else "the task answers in text"
        yield ("evaluate", "metric"), f"{metric!r} does not fit, since {why}; allowed: {one_of(allowed)}"


def _answer_judge(site: Site) -> Iterator[Finding]:
    rule, split = site.spec.evaluate.judge, site.spec.data.split
    key: Key = ("evaluate", "judge")
    if not rule.enabled:
        return
    if site.spec.task.answer is None:
        yield (*key, "enabled"), "rates answers in text, and this task gives labels: these need no judge; set it false"
    yield from _twice((*key, "arms"), rule.arms)
    for index, arm in enumerate(rule.arms):
        if arm not in site.spec.evaluate.arms:
            what = f"{arm!r} is not among evaluate.arms ({', '.join(site.spec.evaluate.arms)})"
            yield (*key, "arms", index), what
    if rule.labelled >= split.dev:
        what = f"{rule.labelled} of {split.dev} dev items would be labelled, so the judge could add nothing"
        yield (*key, "labelled"), f"{what}; allowed: 20 to {split.dev - 1} (data.split.dev)"


def _source(site: Site) -> Iterator[Finding]:
    source = site.spec.data.source
    if not isinstance(source, FileSource | SavedSource):
        return
    path = site.folder / source.path
    key: Key = ("data", "source", "path")
    if isinstance(source, FileSource) and path.is_dir():
        yield key, f"{str(path)!r} is a folder; name the file in it that holds the rows"
        return
    if isinstance(source, FileSource) and source.format is None and path.suffix.lower() not in ENDINGS:
        formats = one_of(sorted(set(ENDINGS.values())))
        yield key, f"{path.name!r} ends in none of {', '.join(ENDINGS)}; say with `format:` what it is ({formats})"
    try:
        found = path.is_file() if isinstance(source, FileSource) else path.is_dir()
        if not found:
            yield key, _not_found(path, source)
    except OSError as error:
        yield key, f"{str(path)!r} cannot be looked up: {error.strerror}"


def _not_found(path: Path, source: FileSource | SavedSource) -> str:
    wanted = "file" if isinstance(source, FileSource) else "folder written by `save_to_disk`"
    if path.exists():
        return f"{str(path)!r} is no {wanted}"
    near = suggest(path.name, sorted(other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""
    return f"no {wanted} {str(path)!r}{near or '.'} Relative paths start at the YAML file's folder"


def _columns(site: Site) -> Iterator[Finding]:
    columns, slices = site.spec.data.columns, site.spec.data.slices
    second = "answer" if site.spec.task.answer else "label"
    name = str(getattr(columns, second))
    if columns.text == name:
        message = f"{name!r} is the text column too; texts and {second}s are two columns"
        yield ("data", "columns", second), message
    for index, name in enumerate(slices.columns):
        key: Key = ("data", "slices", "columns", index)
        if name in slices.columns[:index]:
            yield key, f"{name!r} stands twice"
        elif name == columns.text:
            yield key, f"{name!r} is the text column; every text would be its own slice"
        elif name in ("label", *slices.made):
            advice = f"rename it or set {MADE_OFF[name]}" if name in MADE_OFF else "take it off the list"
            yield key, f"{name!r} is the name of a slice that is made anyway; {advice}"


def _shots(site: Site) -> Iterator[Finding]:
    slices = site.spec.data.slices
    known = [*slices.columns, *slices.made]
    for index, dimension in enumerate(site.spec.matrix.dimensions):
        if dimension.use == "shots" and dimension.name not in known:
            why = "`use: shots` takes seeds from the real slice of this name, and there is none"
            allowed = f"Slices: {', '.join(known) or 'none'} (see data.slices)"
            near = suggest(dimension.name, known) or "."
            yield ("matrix", "dimensions", index, "name"), f"{dimension.name!r}: {why}{near} {allowed}"


def _enough_seeds(site: Site) -> Iterator[Finding]:
    labels, seeds, shots = len(site.spec.task.labels), site.spec.data.split.seeds, site.spec.generate.shots
    each = max(2, shots)
    if seeds < each * labels:
        why = f"generate.shots is {shots}" if shots >= 2 else "training needs two"
        need = f"{labels} labels with {each} each ({why}) are {each * labels}"
        advice = f"Raise data.split.seeds{' or lower generate.shots' if shots > 2 else ''}"
        yield ("data", "split", "seeds"), f"{seeds} is fewer seeds than the matrix needs: {need}. {advice}"


def _filters(site: Site) -> Iterator[Finding]:
    form, band = site.spec.filters.format, site.spec.filters.difficulty
    if form.min_words > form.max_words:
        yield ("filters", "format", "min_words"), f"{form.min_words} is above max_words ({form.max_words})"
    if (band.enabled and (band.low > 0 or band.high < 1)) and not site.spec.filters.consistency.enabled:
        yield ("filters", "difficulty"), "the students of filters.consistency say what is hard, and it is off"
    if band.low >= band.high:
        yield ("filters", "difficulty", "low"), f"{band.low:g} has to be below high ({band.high:g})"
    if form.must_match is not None:
        try:
            re.compile(form.must_match)
        except (re.error, RecursionError, OverflowError) as error:
            yield ("filters", "format", "must_match"), f"{show(form.must_match)} is no regular expression: {error}"


def _generate(site: Site) -> Iterator[Finding]:
    cap, target = site.spec.generate.max_candidates, site.spec.generate.accepted_per_round
    if cap is not None and cap < target:
        yield ("generate", "max_candidates"), f"{cap} can never give accepted_per_round ({target}) accepted rows"
    per_call, labels = site.spec.generate.samples_per_call, len(site.spec.task.labels)
    if cap is not None and cap < labels * per_call:
        what = f"{cap} is less than one call of {per_call} answers for each of the {labels} labels"
        yield ("generate", "max_candidates"), f"{what}; allowed: {labels * per_call} or more"
    if site.spec.llm.generator.embedded and per_call > EMBEDDED_ANSWERS:
        what = f"{per_call} is more than the embedded LLM gives per call"
        yield ("generate", "samples_per_call"), f"{what}; allowed: 1 to {EMBEDDED_ANSWERS}"


def _endpoints(site: Site) -> Iterator[Finding]:
    for role, endpoint in _roles(site.spec).items():
        key: Key = ("llm", role)
        message = _bad_url(endpoint.base_url)
        if message:
            yield (*key, "base_url"), message
        elif endpoint.base_url != "embedded" and not site.written("llm", role, "model"):
            yield (*key, "model"), "is missing; an endpoint other than `embedded` needs the name of one of its models"
        elif endpoint.base_url == "embedded" and endpoint.model != EMBEDDED_MODEL:
            what = f"{show(endpoint.model)} is not what `embedded` carries ({EMBEDDED_MODEL})"
            yield (*key, "model"), f"{what}; remove it, or write the base_url of the endpoint that has it"
        elif not endpoint.model.strip():
            yield (*key, "model"), "is blank; write the model's name as the endpoint lists it"
        name = endpoint.api_key_env
        if name is not None and (looks_secret(name) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            what = "is not the name of an environment variable (the value is not shown, it may be a key)"
            advice = "Put the key into a variable, e.g. OPENAI_API_KEY, and write that name here"
            yield (*key, "api_key_env"), f"{what}. {advice}; a key that has stood in a file is best renewed"


def _roles(spec: Spec) -> dict[str, Endpoint]:
    return {"generator": spec.llm.generator, "judge": spec.llm.judge, "critic": spec.llm.critic}


def _bad_url(url: str) -> str | None:
    if url == "embedded":
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return "is no URL (the value is not shown); write `embedded` or e.g. https://api.openai.com/v1"
    if "@" in url or re.search(r"(?i)key|token|secret|password|sig", parts.query):
        return "holds credentials (not shown); name the key's environment variable in api_key_env instead"
    if not usable:
        near = suggest(url, ["embedded"])
        return f"{show(url)} is neither `embedded` nor an http(s) URL such as https://api.openai.com/v1{near}"
    tail = re.search(r"/(chat/)?completions/?$", parts.path)
    if tail:
        return f"{show(url)}: leave {tail.group(0)!r} off; the base URL ends before it, usually in /v1"
    return None


def _prices(site: Site) -> Iterator[Finding]:
    """A budget in dollars that no call can ever use up would be a hard stop that is none."""
    spec = site.spec
    if spec.budget.usd is None:
        return
    judge = spec.filters.judge.enabled or spec.evaluate.judge.enabled or asks_judge(spec)
    used = {"generator": True, "judge": judge, "critic": "critic" in spec.feedback.policies}
    advice = "write its US dollars per million tokens (`{input: …, output: …}`, zeros for an endpoint of your own)"
    for role, endpoint in _roles(spec).items():
        if used[role] and endpoint.base_url != "embedded" and not site.written("llm", role, "price"):
            yield ("llm", role, "price"), f"is missing, so budget.usd could never stop the run; {advice}"


def _arms(site: Site) -> Iterator[Finding]:
    arms = site.spec.evaluate.arms
    key: Key = ("evaluate", "arms")
    missing = [arm for arm in NEEDED_ARMS if arm not in arms]
    if missing:
        yield key, f"has to hold {' and '.join(map(repr, missing))}: the gap compares 'seeds' with 'mixed'"
    yield from _twice(key, arms)
    yield from _twice(("evaluate", "controls"), site.spec.evaluate.controls)
    for index, arm in enumerate(site.spec.evaluate.each_round or ()):
        if arm not in arms:
            yield ("evaluate", "each_round", index), f"{arm!r} is not among evaluate.arms ({', '.join(arms)})"
    if site.spec.data.split.pool == 0:
        for index, arm in enumerate(arms):
            if arm in NEEDS_POOL:
                what = f"{arm!r} needs real items beyond the seeds, and data.split.pool is 0"
                yield (*key, index), f"{what}: remove it from evaluate.arms or set data.split.pool"


def _twice(key: Key, names: Sequence[str]) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (*key, index), f"{name!r} stands twice"


def _feedback(site: Site) -> Iterator[Finding]:
    policies, filters = site.spec.feedback.policies, site.spec.filters
    key: Key = ("feedback", "policies")
    yield from _twice(key, policies)
    needs = {"relabel": ("consistency",), "surplus": ("consistency", "difficulty")}
    for name, used in needs.items():
        off = [of for of in used if not getattr(filters, of).enabled]
        if name in policies and off:
            what = f"{name!r} works through filters.{off[0]}, which is off; switch it on or take {name!r} off the list"
            yield (*key, policies.index(name)), what
    if "relabel" in policies and site.spec.task.answer:
        what = "'relabel' doubts labels, and this task answers in text; take it off the list"
        yield (*key, policies.index("relabel")), what


def _student(site: Site) -> Iterator[Finding]:
    train = site.spec.train
    if not train.lora.targets:
        yield ("train", "lora", "targets"), "is empty; name the layers to adapt, e.g. [query, key, value, dense]"
    if not train.model.strip():
        yield ("train", "model"), "is blank; write `embedded`, a folder or the name of a transformers encoder"


def _tiny(site: Site) -> Iterator[Finding]:
    if site.spec.collapse.tiny is None:
        return
    if site.spec.causal.lora is not None:
        yield ("causal", "lora"), "has to be null with collapse.tiny: a model from scratch has no weights to adapt"
    if site.spec.causal.format != "plain":
        yield ("causal", "format"), "has to be plain with collapse.tiny: a model from scratch has no chat template"


def _tracking(site: Site) -> Iterator[Finding]:
    if re.search(r"://[^/@]*:[^/@]+@", site.spec.runtime.tracking.uri or ""):
        advice = "leave it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        yield ("runtime", "tracking", "uri"), f"holds a password (not shown); {advice}, or the database's password file"


def _matrix(rule: Callable[[Matrix, Mapping[str, str]], Iterator[Finding]]) -> Callable[[Site], Iterator[Finding]]:
    return lambda site: rule(site.spec.matrix, site.spec.task.labels)


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Site], Iterator[Finding]]], ...] = (
    (("seed", "data"), _seeds_of_chance),
    (("task",), _task),
    (("task",), _answer),
    (("data",), _source),
    (("data", "task"), _columns),
    (("matrix",), lambda site: matrixcheck.dimensions(site.spec.matrix)),
    (("matrix", "data"), _shots),
    (("matrix", "task"), _matrix(matrixcheck.label_weights)),
    (("matrix", "task"), _matrix(matrixcheck.rule_names)),
    (("matrix", "task"), _matrix(matrixcheck.impossible)),
    (("data", "task", "generate"), _enough_seeds),
    (("filters",), _filters),
    (("filters",), lambda site: judgecheck.rubric(site.spec)),
    (("filters",), lambda site: judgecheck.bar(site.spec)),
    (("filters", "data", "task", "evaluate"), lambda site: judgecheck.pairwise(site.spec)),
    (("filters",), lambda site: judgecheck.labels(site.spec, site.folder)),
    (("generate", "task", "llm"), _generate),
    (("llm",), _endpoints),
    (("llm", "budget", "feedback", "filters", "data", "matrix", "evaluate"), _prices),
    (("evaluate", "data"), _arms),
    (("evaluate", "task"), _metric),
    (("evaluate", "task", "data"), _answer_judge),
    (("feedback", "filters", "task"), _feedback),
    (("train",), _student),
    (("collapse", "causal"), _tiny),
    (("runtime",), _tracking),
)

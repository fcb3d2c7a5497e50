"""Pydantic's complaints about a spec in plain words: what stands there, what may stand there, what was meant.

Everything that is allowed is read from the JSON schema of `Spec`, so that messages cannot disagree with the models.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from harness.spec import Spec
from harness.yamlfile import Key, dotted

Node = Mapping[str, Any]
"""A piece of JSON schema."""

Finding = tuple[Key, str]
"""A key and what is wrong with it."""

_MISSING = object()
_PATTERNS = {
    r"^[a-z][a-z0-9_]*$": "a name of small letters, digits and '_' that begins with a letter",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "a name of at most 64 letters, digits, '.', '_' and '-' that begins with a "
    "letter or digit",
}
_KEY_LIKE = re.compile(r"(sk|pk|rk|hf|gsk|ghp|xai|glpat|xox[a-z])[-_]\w|AIza|eyJ|Bearer |AKIA")


def looks_secret(text: str) -> bool:
    """Whether a text looks like an API key rather than like a name or a setting.

    >>> looks_secret("sk-proj-4Tz"), looks_secret("OPENAI_API_KEY")
    (True, False)
    """
    mixed = re.search(r"[a-z]", text) and re.search(r"[0-9]", text) and re.fullmatch(r"[\w.~+=-]{32,}", text)
    return bool(_KEY_LIKE.match(text) or mixed)


def show(value: object, raw: str | None = None) -> str:
    """A value as a message names it; lists and mappings are not spelled out, and what looks like a key never is."""
    if isinstance(value, str):
        if looks_secret(value):
            return "this text (not shown, it looks like a key)"
        return repr(value if len(value) <= 80 else value[:77] + "…")
    if value is None:
        return f"an empty value ({raw})" if raw else "an empty value"
    if isinstance(value, bool):
        word = "true" if value else "false"
        return word if raw in (None, word) else f"{raw} (in YAML: {word})"
    if isinstance(value, int | float):
        return raw or repr(value)
    return "a list" if isinstance(value, Sequence) else "a mapping"


NEAR = 0.65
"""How like two names have to be (`difflib`) to be taken for a slip."""


def suggest(name: object, allowed: Sequence[str]) -> str:
    """`; did you mean 'style'?`, or nothing where no name is near."""
    match = nearest(str(name), allowed, NEAR)
    return f"; did you mean {match!r}?" if match is not None else ""


def nearest(name: str, allowed: Sequence[str], cutoff: float) -> str | None:
    """The allowed name that is most like this one, in whatever case; None where none is so alike (`difflib`).

    >>> nearest("Txt", ["text", "label"], 0.65)
    'text'
    """
    near = difflib.get_close_matches(name.casefold(), [other.casefold() for other in allowed], n=1, cutoff=cutoff)
    return next((other for other in allowed if near and other.casefold() == near[0]), None)


def one_of(names: Sequence[str]) -> str:
    return repr(names[0]) if len(names) == 1 else "one of " + ", ".join(map(repr, names))


def findings(errors: Sequence[Mapping[str, Any]], tree: object, raw: Mapping[Key, str]) -> Iterator[Finding]:
    """What pydantic's `errors()` say of `tree`, one finding a key; `raw` is how scalars were written."""
    seen: set[Key] = set()
    for error in errors:
        key, node, value = _place(error["loc"], tree)
        if error["type"] == "extra_forbidden" or error["loc"][-1] == "[key]":
            message = _unknown(key, node)
        elif error["type"].startswith("union_tag"):
            key, message = _tag(key, node, value)
        elif isinstance(value, list) and any(option.get("type") == "array" for option in node.get("anyOf", ())):
            continue  # a wrong item has an error of its own; this one only says that a list is no text
        elif value is _MISSING:
            message = f"is missing; write {describe(node)}{_purpose(node)}"
        else:
            message = f"{show(value, raw.get(key))} is not {describe(node)}{_hint(value, node, raw.get(key))}"
        if key not in seen:
            seen.add(key)
            yield key, message


def fill_sections(tree: object, node: Node | None = None) -> object:
    """The tree with `{}` for sections that stand there without content (all of their keys commented out), and with
    what a section's place says of its defaults: a judge written in part stays a chat endpoint."""
    node = _deref(_schema() if node is None else node)
    if "properties" not in node or not isinstance(tree, dict):
        return tree
    properties: dict[str, Node] = node["properties"]
    filled: dict[str, object] = {}
    for name, value in tree.items():
        place = properties.get(name, {})
        section = _deref(place)
        if "properties" in section and (value is None or isinstance(value, dict)):
            value = {**(value or {})}
            for key, default in place.get("default", {}).items():
                if default != section["properties"][key].get("default", default):
                    value.setdefault(key, default)
        filled[name] = fill_sections(value, section)
    return filled


def at(key: Key) -> Node:
    """The schema of the value that stands at a key of the spec."""
    node: Node = _schema()
    for part in key:
        node = _deref(_inner(_deref(node), part) or {})
    return node


def describe(node: Node) -> str:
    """What a schema node allows, e.g. `a whole number from 2 to 10`."""
    node = _deref(node)
    if "discriminator" in node:
        return f"a mapping with `kind:` and the keys of that kind ({one_of(list(node['discriminator']['mapping']))})"
    if "anyOf" in node:
        return " or ".join(describe(option) for option in node["anyOf"])
    if "enum" in node:
        return one_of(node["enum"])
    if "const" in node:
        return repr(node["const"])
    return {
        "null": lambda: "null",
        "boolean": lambda: "true or false",
        "integer": lambda: f"a whole number{_range(node, whole=True)}",
        "number": lambda: f"a number{_range(node, whole=False)}",
        "string": lambda: _text(node),
        "array": lambda: f"a list{_size(node)}, each item {describe(node['items'])}",
        "object": lambda: _mapping(node),
    }[node["type"]]()


def _text(node: Node) -> str:
    if "pattern" in node:
        return _PATTERNS[node["pattern"]]
    return "a path" if node.get("format") == "path" else "text"


def _mapping(node: Node) -> str:
    if "properties" in node:
        return f"a mapping with the keys {', '.join(map(repr, node['properties']))}"
    names = _names(node)
    keys = f"the keys {', '.join(map(repr, names))}" if names else "`name: value` lines"
    return f"a mapping with {keys}{_size(node)}, each value {describe(node['additionalProperties'])}"


def _range(node: Node, *, whole: bool) -> str:
    low, above, high = node.get("minimum"), node.get("exclusiveMinimum"), node.get("maximum")
    if whole and above is not None:
        low, above = above + 1, None
    if above is not None:
        return f" above {above:g}"
    if low is None:
        return ""
    return f" from {low:g} to {high:g}" if high is not None else f" from {low:g} on"


def _size(node: Node) -> str:
    low = node.get("minItems", node.get("minProperties"))
    high = node.get("maxItems", node.get("maxProperties"))
    limits = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return f" ({' and '.join(limits)})" if limits else ""


def _purpose(node: Node) -> str:
    """The first sentence of the attribute's docstring."""
    text = " ".join(str(node.get("description", "")).split())
    return f" ({text.split('. ')[0].rstrip('.')})" if text and "$ref" not in node else ""


def _unknown(key: Key, node: Node) -> str:
    name = str(key[-1])
    allowed = _names(node)
    if name in ("api_key", "key", "token"):
        advice = "Put it into an environment variable and name that variable in 'api_key_env'"
        return f"unknown key {name!r}: keys never stand in a file. {advice}"
    hint = suggest(name, allowed)
    if not hint:
        elsewhere = [dotted(place) for place in _places() if suggest(name, [str(place[-1])])]
        hint = f"; did you mean {' or '.join(map(repr, elsewhere[:3]))}?" if elsewhere else "."
    return f"unknown key {name!r}{hint} Allowed: {', '.join(map(repr, allowed))}"


def _tag(key: Key, node: Node, value: object) -> Finding:
    kinds = list(_deref(node)["discriminator"]["mapping"])
    tag = value.get("kind", _MISSING) if isinstance(value, dict) else _MISSING
    if tag is _MISSING:
        return (*key, "kind"), f"is missing; write {one_of(kinds)}"
    return (*key, "kind"), f"{show(tag)} is not {one_of(kinds)}{suggest(tag, kinds)}"


def _hint(value: object, node: Node, raw: str | None) -> str:
    node = _deref(node)
    options = [_deref(option) for option in node.get("anyOf", [node])]
    kinds = {option.get("type") for option in options}
    if isinstance(value, bool | int | float) and "string" in kinds and not any("const" in option for option in options):
        return f"; if it is meant as text, put it in quotes: '{raw or value}'"
    if isinstance(value, str):
        return _text_hint(value, options)
    share = any(option.get("maximum") == 1 for option in options)
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return f"; write {value:.0f}"
    if share and isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        return f"; {value:g} % is written {value / 100:g}"
    return ""


def _text_hint(value: str, options: Sequence[Node]) -> str:
    kinds = {option.get("type") for option in options}
    if kinds & {"integer", "number"} and re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?", value):
        return "; it is text because of its quotes: remove them"
    if "boolean" in kinds and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return "; it is text because of its quotes: remove them"
    if "null" in kinds and value.lower() in ("none", "nil", "null", ""):
        return "; to leave it open, write null"
    return suggest(value, [name for option in options for name in option.get("enum", [])])


def _names(node: Node) -> list[str]:
    node = _deref(node)
    return list(node.get("properties") or node.get("propertyNames", {}).get("enum", []))


def _place(loc: Sequence[str | int], tree: object) -> tuple[Key, Node, Any]:
    """Where an error stands in the file, the schema there, and the value. Pydantic's `loc` also holds parts that
    nobody wrote: the tag of a tagged union, the name of a union's member, `[key]`."""
    key: Key = ()
    node: Node = _schema()
    value: Any = tree
    for part in loc:
        node = _opened(_deref(node), value)
        if "discriminator" in node and part in node["discriminator"]["mapping"]:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif "anyOf" in node and isinstance(value, list) and str(part).startswith("list["):
            node = next(option for option in node["anyOf"] if option.get("type") == "array")
        elif "anyOf" in node or part == "[key]":
            break
        else:
            key = (*key, part)
            value = _child(value, part)
            inner = _inner(node, part)
            if inner is None:
                break
            node = inner
    if loc[-1] == "[key]":
        node = at(key[:-1])
    return key, node, value


def _opened(node: Node, value: Any) -> Node:
    """The section that a mapping is meant as where null may stand instead of it; other schemas as they are."""
    sections = [option for option in map(_deref, node.get("anyOf", ())) if "properties" in option]
    return sections[0] if len(sections) == 1 and isinstance(value, dict) else node


def _inner(node: Node, part: str | int) -> Node | None:
    if isinstance(part, int):
        return node.get("items")
    return node.get("properties", {}).get(part) or node.get("additionalProperties") or None


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part, _MISSING)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return _MISSING


@cache
def _schema() -> dict[str, Any]:
    return Spec.model_json_schema()


def _deref(node: Node) -> Node:
    while "$ref" in node:
        node = _schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


@cache
def _places() -> tuple[Key, ...]:
    """The keys of all sections, outermost first."""
    found: list[Key] = []
    level: list[tuple[Key, Node]] = [((), _schema())]
    while level:
        inner: list[tuple[Key, Node]] = []
        for key, node in level:
            for name, child in _deref(node).get("properties", {}).items():
                found.append((*key, name))
                inner.append(((*key, name), child))
        level = inner
    return tuple(found)

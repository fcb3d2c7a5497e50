"""YAML text to plain values, with the line of every key and every oddity of YAML 1.1 as a `Problem`.

PyYAML's composer does the reading; values are built here rather than by its constructor because a key has to keep
its line, a repeated key has to be seen, and `NO`, `1:30` or `2024-01-01` must not turn into something else unnoticed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from harness.errors import Problem, SpecError

Key = tuple[str | int, ...]
"""Where a value stands: `("matrix", "dimensions", 0, "name")`."""

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_INT = 2**63
_STANDARD = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
_DECIMAL_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_BREAKS = re.compile("[\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_ADVICE = (
    (r"'\t'", "a tab stands where YAML wants blanks; indent with spaces"),
    ("mapping values are not allowed", "a ':' stands where no key can be; put a text that holds ': ' in quotes, and "
     "check the indentation"),
    ("could not find expected ':'", "a key without its ':' (or a text over several lines that needs quotes)"),
    ("another document", "a second document begins here (`---`); one file holds one spec"),
    ("unexpected end of stream", "a quote is opened and never closed"),
    ("cannot start any token", "a text that begins with this character has to stand in quotes"),
    ("<block end>", "the indentation does not fit the lines above"),
    ("expected ',' or", "a bracket is opened and never closed, or a ',' is missing"),
)  # fmt: skip


@dataclass
class Document:
    """A file's `value`, the 1-based `lines` of its keys and items, and in `raw` how what is not text was written.

    Keys in `reported` already have a problem, so that nobody complains about the same value twice.
    """

    value: Any = None
    lines: dict[Key, int] = field(default_factory=dict[Key, int])
    raw: dict[Key, str] = field(default_factory=dict[Key, str])
    problems: list[Problem] = field(default_factory=list[Problem])
    reported: set[Key] = field(default_factory=set[Key])


def dotted(key: Key) -> str:
    """How a key is written in messages and in `--set`.

    >>> dotted(("matrix", "dimensions", 0, "values", "very long"))
    'matrix.dimensions[0].values."very long"'
    """
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most `MAX_BYTES`. Raises `SpecError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _unreadable(path, "no such file; `harness init NAME` writes a commented one") from error
    except IsADirectoryError as error:
        raise _unreadable(path, "is a folder; name the YAML file in it") from error
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise _unreadable(path, f"is larger than {MAX_BYTES:,} bytes; a spec holds settings, data goes to its own file")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _unreadable(path, "begins with a byte-order mark of UTF-16; save the file as UTF-8", 1)
    if data.startswith(b"\xef\xbb\xbf"):
        raise _unreadable(path, "begins with a byte-order mark; save the file as UTF-8 without it ('without BOM')", 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", line) from error


def parse(text: str) -> Document:
    """Values, lines and problems of a YAML text; after a syntax error `value` is None and `problems` has one entry.

    >>> parse("a: [1, {b: x}]").value
    {'a': [1, {'b': 'x'}]}
    """
    document = Document()
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                document.value = _Builder(loader, document).build(node, ())
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document = Document(problems=[Problem("", f"the character {chr(int(error.character))!r} is not allowed", line)])
    except yaml.MarkedYAMLError as error:
        opened = error.problem and re.search(r"end of stream|expected ',' or", error.problem)
        mark = (error.context_mark if opened else error.problem_mark) or error.context_mark
        line = None if mark is None else min(mark.line + 1, max(1, len(text.splitlines())))
        document = Document(problems=[Problem("", _syntax(error), line)])
    return document


def to_yaml(value: object) -> str:
    """YAML text that `parse` reads back to an equal value; mappings keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def inline(value: object) -> str:
    """One value in one line of YAML.

    >>> inline({"enabled": True, "targets": ["query", "no"]})
    "{enabled: true, targets: [query, 'no']}"
    """
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return text.removesuffix("...\n").strip()


def _unreadable(path: Path, message: str, line: int | None = None) -> SpecError:
    return SpecError(str(path), [Problem("", message, line)])


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "unknown reason"
    advice = next((advice for part, advice in _ADVICE if part in problem), None)
    if isinstance(error, _Refused):
        return problem
    return f"not valid YAML: {problem}" if advice is None else f"not valid YAML: {advice} ({problem})"


class _Refused(yaml.MarkedYAMLError):
    """Well-formed YAML that is not taken."""

    def __init__(self, problem: str, node: yaml.Node | yaml.Event) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """SafeLoader that stops at a depth and reads `2e-3` as a number, as YAML 1.2 and every reader of it does."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth >= MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", cast("yaml.Event", self.peek_event()))
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts quotes where `_Loader` needs them."""


def _quote_breaks(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """PyYAML folds a quoted U+0085, U+2028 or U+2029 into a blank on the way back; escapes survive."""
    return dumper.represent_scalar(f"{_STANDARD}str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _quote_breaks)
_Loader.add_implicit_resolver(f"{_STANDARD}float", _EXPONENT, list("-+.0123456789"))
_Dumper.add_implicit_resolver(f"{_STANDARD}float", _EXPONENT, list("-+.0123456789"))


class _Builder:
    """Builds plain values from one document's nodes and notes what is odd about them."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._open: set[int] = set()
        self._values = 0

    def build(self, node: yaml.Node, key: Key) -> Any:
        self._count(node)
        self._document.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        self._enter(node)
        try:
            expected = "map" if isinstance(node, yaml.MappingNode) else "seq"
            if node.tag != _STANDARD + expected:
                self._odd_tag(node, key)
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, key)
            return [self.build(item, (*key, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Refused(f"more than {MAX_VALUES:,} values once its aliases (`*name`) are expanded", node)

    def _enter(self, node: yaml.Node) -> None:
        if id(node) in self._open:
            raise _Refused("an alias (`*name`) stands inside the value that it names", node)
        self._open.add(id(node))

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        value: dict[str, Any] = {}
        first: dict[str, int] = {}
        for name_node, value_node, merged in self._entries(node, key, merged=False):
            line = name_node.start_mark.line + 1
            name = self._name(name_node, key)
            if name is None or (merged and name in value):
                continue
            if name in value:
                message = f"the key {name!r} stands twice; the first is in line {first[name]}. Remove one of them"
                self._note((*key, name), message, line)
                continue
            first[name] = line
            self._document.lines[(*key, name)] = line
            value[name] = self.build(value_node, (*key, name))
        return value

    def _entries(
        self, node: yaml.MappingNode, key: Key, *, merged: bool
    ) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """A mapping's own entries first, then those it takes over with `<<: *name`."""
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        yield from ((name, value, merged) for name, value in pairs if name.tag != f"{_STANDARD}merge")
        for name, value in pairs:
            if name.tag != f"{_STANDARD}merge":
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise _Refused("`<<` takes over mappings only", cast("yaml.Node", source))
                # What is taken over may be known already and never be built, so it counts here.
                self._count(source)
                self._enter(source)
                yield from self._entries(source, key, merged=True)
                self._open.discard(id(source))

    def _name(self, node: yaml.Node, key: Key) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            message = "a list or a mapping cannot be a key; was a `{{ … }}` left in the file?"
            self._note(key, message, node.start_mark.line + 1)
            return None
        name = self._whole(node, key)
        if node.tag != f"{_STANDARD}str":
            kind = node.tag.removeprefix(_STANDARD)
            message = f"YAML reads this key as a {_KINDS.get(kind, kind)}, not as text; put it in quotes: {name!r}"
            self._note((*key, name), message, node.start_mark.line + 1)
        return name

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> str | int | float | bool | None:
        text = self._whole(node, key)
        kind = node.tag.removeprefix(_STANDARD)
        if kind in ("str", "value"):
            return text
        self._document.raw[key] = text
        if kind == "null":
            return None
        if kind not in ("bool", "int", "float"):
            if kind == "timestamp":
                self._note(key, f"YAML reads {text} as a date; put it in quotes", node.start_mark.line + 1)
            else:
                self._odd_tag(node, key)
            return text
        return self._number(node, kind, text, key)

    def _whole(self, node: yaml.ScalarNode, key: Key) -> str:
        """The node's text; an escape such as `\\ud800` is half a character, which no file or database takes."""
        text = str(node.value)
        if _SURROGATE.search(text):
            self._note(key, f"{text!r} holds half a character (a lone surrogate)", node.start_mark.line + 1)
        return _SURROGATE.sub("\ufffd", text)

    def _number(self, node: yaml.ScalarNode, kind: str, text: str, key: Key) -> str | int | float | bool:
        line = node.start_mark.line + 1
        if len(text) > 40:
            self._note(key, f"a number of {len(text)} characters is too long", line)
            return text
        try:
            value: int | float | bool = getattr(self._loader, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            self._note(key, f"{text!r} is not a {_KINDS[kind]}", line)
            return text
        if kind == "int" and not _DECIMAL_INT.fullmatch(text):
            advice = f"write {value}, or put it in quotes if it is text"
            self._note(key, f"YAML reads {text} as the number {value}; {advice}", line)
        elif kind == "float" and ":" in text:
            self._note(key, f"YAML reads {text} as the number {value}; put it in quotes if it is text", line)
        elif not math.isfinite(value) or abs(value) >= MAX_INT:
            self._note(key, f"{text} is no finite number below 2^63", line)
        return value if math.isfinite(value) else text

    def _odd_tag(self, node: yaml.Node, key: Key) -> None:
        tag = node.tag.replace(_STANDARD, "!!")
        self._note(key, f"the tag {tag!r} is not allowed; write plain values", node.start_mark.line + 1)

    def _note(self, key: Key, message: str, line: int) -> None:
        self._document.problems.append(Problem(dotted(key), message, line))
        self._document.reported.add(key)


_KINDS = {"bool": "truth value", "int": "whole number", "float": "number", "null": "null", "timestamp": "date"}

"""What all HTML pages share: the template environment, numbers in words, pictures and the policy that forbids loading.

A page loads nothing: style and pictures are inline and a content-security policy forbids the rest. Whatever comes from
data or models is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.records import Estimate

if TYPE_CHECKING:
    import jinja2

_LONGEST_TEXT = 600


def environment(**tests: Callable[..., bool]) -> jinja2.Environment:
    """Templates of this package with the filters that the pages use, and `tests` of their own."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("harness", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        pct=_unbroken(percent),
        points=points,
        span=_unbroken(interval),
        cut=_cut,
        clock=duration,
        money=money,
        csp=_style_hash,
        p=p_value,
        whole=unbroken,
    )
    found.tests.update(tests)
    return found


@contextmanager
def page_folder(folder: Path, pictures: Mapping[str, bytes], what: str, advice: str) -> Generator[None]:
    """Where a page is written: `figures/<name>.png` of these pictures and of no others, then whatever the block writes.

    Raises `StoreError` where `folder` cannot be written, which names `what` was to be written and gives `advice`.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for old in (folder / "figures").glob("*.png"):
            if old.stem not in pictures:
                old.unlink()
        for name, png in pictures.items():
            (folder / "figures" / f"{name}.png").write_bytes(png)
        yield
    except OSError as error:
        raise StoreError(f"cannot write the {what} to {str(folder)!r}: {error.strerror or error}. {advice}") from error


def inline(pictures: Mapping[str, bytes], words: Mapping[str, tuple[str, str]]) -> dict[str, tuple[object, ...]]:
    """Name → (title, caption, base64, width, height) of each PNG, as the macro `picture` takes them."""
    return {name: (*words[name], base64.b64encode(png).decode("ascii"), *_size(png)) for name, png in pictures.items()}


def percent(value: float | None, digits: int = 1) -> str:
    """`percent(.7284)` is `72.8 %`."""
    return "–" if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def points(value: float | None, sign: bool = True) -> str:
    """`points(.07)` is `+7.0`: a difference of shares in percentage points."""
    if value is None:
        return "–"
    return f"{100 * value:{'+' if sign else ''}.1f}".replace("-", "−")


def interval(estimate: Estimate, unit: str = "percent") -> str:
    """`79.8 % (77.3 to 82.3)`, `+7.0 points (+4.9 to +9.1)`, or why there is no number."""
    if estimate.value is None:
        return estimate.note or "not available"
    if unit == "number":
        text, ends = f"{estimate.value:.2f}", [f"{end:.2f}" for end in (estimate.low, estimate.high) if end is not None]
    elif unit == "points":
        text = f"{points(estimate.value)} points"
        ends = [points(end) for end in (estimate.low, estimate.high) if end is not None]
    else:
        text = percent(estimate.value)
        ends = [percent(end).removesuffix(" %") for end in (estimate.low, estimate.high) if end is not None]
    return f"{text} ({ends[0]} to {ends[1]})" if len(ends) == 2 else text


def p_value(value: float) -> str:
    """`p_value(.0004)` is `< .001`."""
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def money(usd: float) -> str:
    """`money(.025)` is `$0.0250`; nothing paid is `$0`."""
    return "$0" if usd == 0 else f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}"


def duration(seconds: float) -> str:
    """`duration(331.5)` is `5 min 32 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} … ({len(text):,} characters)"


def unbroken(text: object) -> str:
    """The text, with no line break between a number and its percent sign."""
    return str(text).replace(" %", "\N{NO-BREAK SPACE}%")


def _unbroken(write: Callable[..., str]) -> Callable[..., str]:
    return lambda *args: unbroken(write(*args))


def _size(png: bytes) -> tuple[int, int]:
    """(width, height) in CSS pixels, from the header: the page can then keep room for the picture."""
    return int.from_bytes(png[16:20], "big") * 12 // 19, int.from_bytes(png[20:24], "big") * 12 // 19


def _style_hash(css: str) -> str:
    """The CSP source that allows exactly this inline style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}'"

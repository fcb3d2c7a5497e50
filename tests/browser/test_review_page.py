"""The review page in a real Chromium, decided by keyboard: what is on disk, what a reload shows, what cannot run.

Needs Debian's `chromium` (`apt-get install chromium`) or Chrome; run with `scripts/test -m browser`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pictures.browser import Page, browser
from review_cases import make_made, serving

from harness.reviews import Desk
from harness.reviewserver import ReviewServer
from harness.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EVIL = "</script><script>alerted=1</script><img src=x onerror=alerted=1> Donaudampfschifffahrtsgesellschaft" * 3
WATCH = "window.broken = []; addEventListener('securitypolicyviolation', e => broken.push(e.violatedDirective));"
PHONE, DESK = (360, 800), (1280, 900)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_made(Store(tmp_path / "runs"), 60, text=EVIL).desk(12)


@asynccontextmanager
async def opened(address: str, size: tuple[int, int] = DESK) -> AsyncGenerator[Page]:
    async with browser() as page:
        await page.first(WATCH)
        await page.open(address, *size)
        await page.wait("document.querySelector('#place')?.textContent.startsWith('Row ')")
        yield page


async def at(page: Page, row: int, done: int) -> None:
    """Until the page shows this row and so many decided ones."""
    await page.wait(
        f"document.querySelector('#place')?.textContent === 'Row {row} of 12' "
        f"&& document.querySelector('#count').textContent === '{done} of 12 decided'",
        patience_s=10,
    )


def test_deciding_by_keyboard_reloading_and_starting_again(desk: Desk) -> None:
    rows = [item.shown for item in desk.sample.items]
    labels = list(desk.sample.labels)
    key = next(place for place, label in enumerate(labels) if label != rows[2].label)

    async def decide(address: str) -> None:
        async with opened(address) as page:
            await at(page, 1, 0)
            await page.press("a")
            await at(page, 2, 1)
            await page.press("n")
            await page.write("r a 1 u: keys are text here")
            await page.press("Escape")
            await page.press("R")
            await at(page, 3, 2)
            # Its own label is no other one.
            await page.press(str(labels.index(rows[2].label) + 1))
            await page.press(str(key + 1))
            await at(page, 4, 3)
            await page.press("a")
            await at(page, 5, 4)
            await page.press("u")
            await at(page, 4, 3)
            await page.press("ArrowLeft")
            await page.press("ArrowLeft")
            await at(page, 2, 3)
            assert await page.ask("document.querySelector('#note').value") == "r a 1 u: keys are text here"
            assert await page.ask("document.querySelector('[data-word=reject]').ariaPressed") == "true"
            await page.open(address, *DESK)
            await at(page, 4, 3)
            await page.press("ArrowRight")
            await at(page, 5, 3)
            assert await page.ask("broken") == []

    async def go_on(address: str) -> None:
        async with opened(address) as page:
            await at(page, 4, 3)
            for done in range(4, 12):
                await page.press("a")
                await at(page, done + 1, done)
            assert await page.ask("document.querySelector('#done').hidden") is True
            await page.press("r")
            await at(page, 12, 12)
            assert "All 12 rows are decided." in await page.text()

    with serving(desk) as server:
        asyncio.run(decide(server.url))
    said = desk.read("ana")
    assert [said[row.id].said for row in rows[:3]] == [
        ("accept", "", ""),
        ("reject", "", "r a 1 u: keys are text here"),
        ("relabel", labels[key], ""),
    ]
    assert len(said) == 3
    with serving(desk) as server:
        asyncio.run(go_on(server.url))
    assert len(desk.decided("ana")) == 12


def test_texts_are_shown_as_they_are_and_do_nothing(desk: Desk) -> None:
    async def look(address: str) -> tuple[object, ...]:
        async with opened(address) as page:
            text = await page.ask("document.querySelector('#text').textContent")
            before = await page.ask("[Boolean(window.alerted), broken.length, document.images.length]")
            # What would happen if markup did get in.
            await page.ask(
                "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"alerted=1\">')"
            )
            await page.wait("broken.length > 0", patience_s=10)
            return text, before, await page.ask("[Boolean(window.alerted), broken[0]]")

    with serving(desk) as server:
        text, before, after = asyncio.run(look(server.url))
    assert text == desk.sample.items[0].shown.text
    assert before == [False, 0, 0]
    assert after == [False, "script-src-attr"]


def test_it_fits_a_phone_and_buttons_can_be_touched(desk: Desk) -> None:
    measure = (
        "({wide: document.documentElement.scrollWidth,"
        " outside: [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361).length,"
        " low: Math.min(...[...document.querySelectorAll('button')].map(e => e.getBoundingClientRect().height)),"
        " font: getComputedStyle(document.body).fontFamily})"
    )

    async def look(address: str) -> object:
        async with opened(address, PHONE) as page:
            return await page.ask(measure)

    with serving(desk) as server:
        seen = asyncio.run(look(server.url))
    assert isinstance(seen, dict)
    assert seen["wide"] <= 360
    assert seen["outside"] == 0
    assert seen["low"] >= 44
    assert seen["font"].startswith("system-ui")


def test_every_button_is_reached_by_tab_and_has_a_name(desk: Desk) -> None:
    async def walk(address: str) -> tuple[list[object], object]:
        async with opened(address) as page:
            found: list[object] = []
            for _ in range(9):
                await page.press("Tab")
                found.append(await page.ask("document.activeElement.textContent.trim() || document.activeElement.id"))
                if found[-1] == "r reject":
                    await page.press("Enter")
                    await at(page, 2, 1)
                    return found, await page.ask("document.activeElement.id")
            return found, None

    with serving(desk) as server:
        found, focus = asyncio.run(walk(server.url))
    assert found == ["a accept", "r reject"]
    # A screen reader reads the next row.
    assert focus == "place"
    assert [one.decision for one in desk.read("ana").values()] == ["reject"]


def test_what_could_not_be_saved_is_said_and_the_row_stays(desk: Desk) -> None:
    async def look(server: ReviewServer) -> str:
        async with opened(server.url) as page:
            (desk.folder / "ana.jsonl").mkdir()
            await page.press("a")
            await page.wait("!document.querySelector('#fault').hidden", patience_s=10)
            await at(page, 1, 0)
            told = str(await page.ask("document.querySelector('#fault').textContent"))
            (desk.folder / "ana.jsonl").rmdir()
            await page.press("a")
            await at(page, 2, 1)
            assert await page.ask("document.querySelector('#fault').hidden") is True
            server.shutdown()
            server.server_close()
            await page.press("a")
            await page.wait("!document.querySelector('#fault').hidden", patience_s=10)
            return told + str(await page.ask("document.querySelector('#fault').textContent"))

    with serving(desk) as server:
        told = asyncio.run(look(server))
    assert "Not saved: cannot write the reviews" in told
    assert "the server does not answer" in told
    assert len(desk.decided("ana")) == 1


def test_another_answer_is_typed_in(tmp_path: Path) -> None:
    desk = make_made(Store(tmp_path / "runs"), 60, answers=True).desk(12)

    async def write(address: str) -> str:
        async with opened(address) as page:
            shown = await page.text()
            await page.press("e")
            await page.ask("document.querySelector('#other').select()")
            await page.write("42")
            await page.press("Enter")
            await at(page, 2, 1)
            # On a phone there may be no Enter.
            await page.ask("document.querySelector('#other').value = 'forty-two'")
            await page.ask("document.querySelector('#relabel').click()")
            await at(page, 3, 2)
            return shown

    with serving(desk) as server:
        shown = asyncio.run(write(server.url))
    row = desk.sample.items[0].shown
    assert all(text in shown for text in (row.text, row.answer, row.context))
    assert desk.read("ana")[row.id].said == ("relabel", "42", "")
    assert desk.read("ana")[desk.sample.items[1].shown.id].said == ("relabel", "forty-two", "")


def test_labels_beyond_nine_are_chosen_from_a_list(desk: Desk) -> None:
    more = {**desk.sample.labels, **{f"L{number}": "one of many" for number in range(9)}}
    wide = Desk(Store(desk.folder.parents[1]), replace(desk.sample, labels=more))

    async def choose(address: str) -> None:
        async with opened(address) as page:
            await page.press("l")
            await page.press("L")
            await page.press("8")
            await page.wait("document.querySelector('#other').value === 'L8'", patience_s=10)
            await page.press("Enter")
            await at(page, 2, 1)

    with serving(wide) as server:
        asyncio.run(choose(server.url))
    assert wide.read("ana")[wide.sample.items[0].shown.id].said == ("relabel", "L8", "")

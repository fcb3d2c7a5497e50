"""A headless Chromium that is told what to do over the DevTools protocol: open, wait, ask, press, take a picture."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # A mouse: without one plotly shows its tools all the time.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    # Nothing but this machine: MLflow's pages ask others for news.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PATIENCE_S = 90.0
CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
"""Keys that are no characters."""


def chromium() -> str:
    """Path of Chromium or Chrome. Raises `FileNotFoundError`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise FileNotFoundError("no chromium on this machine; `apt-get install chromium`")


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def open(self, address: str, width: int, height: int) -> None:
        """Go there, in a window of so many CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._send("Emulation.setDeviceMetricsOverride", **size)
        # Of two addresses that differ after the `#` only, the page would not be loaded again.
        await self._send("Page.navigate", url="about:blank")
        await self._send("Page.navigate", url=address)

    async def first(self, script: str) -> None:
        """Run this in every page before its own scripts."""
        await self._send("Page.enable")
        await self._send("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def ask(self, script: str) -> Any:
        """The value of a JavaScript expression in the page. Raises `RuntimeError` for one that fails there."""
        said = await self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise RuntimeError(f"{script}: {said['exceptionDetails']}")
        return said["result"].get("value")

    async def wait(self, script: str, patience_s: float = PATIENCE_S) -> None:
        """Until the expression is true. Raises `TimeoutError` with what the page shows."""
        end = time.monotonic() + patience_s
        while not await self.ask(script):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {script}; the page: {await self.text()}")
            await asyncio.sleep(0.1)

    async def text(self) -> str:
        return str(await self.ask("document.body ? document.body.innerText : ''"))

    async def press(self, key: str) -> None:
        """A key down and up, as a keyboard sends it: a character, or one of `CODES`."""
        code = {"windowsVirtualKeyCode": CODES[key]} if key in CODES else {}
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        await self._send("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
        await self._send("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    async def write(self, text: str) -> None:
        """Text into what has the focus."""
        await self._send("Input.insertText", text=text)

    async def picture(self) -> bytes:
        """PNG of what the window shows."""
        return base64.b64decode((await self._send("Page.captureScreenshot", format="png"))["data"])

    async def _send(self, method: str, **given: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            said = json.loads((await self._socket.receive(timeout=PATIENCE_S)).data)
            if said.get("id") == number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return said["result"]


@contextmanager
def _chromium(profile: Path) -> Generator[subprocess.Popen[bytes]]:
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@asynccontextmanager
async def browser() -> AsyncGenerator[Page]:
    """A tab of a Chromium of its own, which is ended afterwards."""
    # The dying browser may still write into its profile.
    folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
    with folder as profile, _chromium(Path(profile)) as process:
        port = await _port(Path(profile), process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = await answer.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)


async def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    """Where it listens; it writes that into its profile."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        told = profile / "DevToolsActivePort"
        if told.exists() and "\n" in told.read_text():
            return int(told.read_text().splitlines()[0])
        await asyncio.sleep(0.1)
    raise TimeoutError("Chromium does not start")

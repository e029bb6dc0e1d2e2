"""Drive a real browser through its debugging pipe and read the console, requests and layout of a page."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)


@dataclass
class Tab:
    """A browser tab; `events` holds the DevTools events of the current page."""

    reading: IO[bytes]
    writing: IO[bytes]
    session: str | None = None
    sent: int = 0
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        self.writing.write(json.dumps(message).encode() + b"\0")
        self.writing.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, address: str, width: int, height: int) -> None:
        """Load a page on a screen of `width` x `height` pixels; `events` is cleared first."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True
        )
        self.call("Page.navigate", url=address)
        while not self.of("Page.loadEventFired"):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        return result.get("value")

    def of(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of all events of one DevTools method."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while byte := self.reading.read(1):
            if byte == b"\0":
                return json.loads(message)
            message += byte
        raise AssertionError("the browser has exited")


@contextmanager
def browser_tab(profile: Path) -> Iterator[Tab]:
    """Start a browser with the profile directory `profile` and yield a new tab."""
    assert CHROMIUM is not None
    browser_reads, we_write = os.pipe()
    we_read, browser_writes = os.pipe()
    flags = [*FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            f'exec "$@" 3<&{browser_reads} 4>&{browser_writes}',
            "bash",
            CHROMIUM,
            *flags,
            "about:blank",
        ],
        pass_fds=(browser_reads, browser_writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(browser_reads)
    os.close(browser_writes)
    with os.fdopen(we_read, "rb") as reading, os.fdopen(we_write, "wb") as writing:
        try:
            tab = Tab(reading, writing)
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            process.terminate()
            process.wait(10)

"""A real browser without a window: Debian's Chromium, in which people log in to the console."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30_000
"""Milliseconds for whatever a page shows."""


@dataclass
class Console:
    """The console as one person sees it."""

    page: Any
    root: str
    websockets: list[str] = field(default_factory=list)

    def text(self, path: str, *texts: str) -> str:
        """What stands on a page once these words are there."""
        self.page.goto(f"{self.root}{path}")
        return self.now(*texts)

    def now(self, *texts: str) -> str:
        """What stands on this page once these words are there."""
        for text in texts:
            self.page.get_by_text(text).first.wait_for()
        return str(self.page.inner_text("body"))

    def cookies(self) -> list[dict[str, Any]]:
        return list(self.page.context.cookies(f"{self.root}/"))

    def status(self, method: str, path: str, body: Any = None) -> int:
        """What the console's own API answers to this person."""
        ask = "async ([method, url, body]) => (await fetch(url, {method, body, headers: {'Content-Type': 'application/json'}})).status"
        return int(self.page.evaluate(ask, [method, f"{self.root}{path}", None if body is None else json.dumps(body)]))


class Browser:
    """One process, with a fresh profile for each person."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def console(self, url: str, user: str, password: str, at: str = "/browser") -> Iterator[Console]:
        """Somebody who has gone through the login of Keycloak from the console's own page, and is where they come out."""
        context = self._chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        console = Console(page, f"{url}/minio-console")
        page.on("websocket", lambda socket: console.websockets.append(socket.url))
        page.goto(f"{console.root}/")
        page.get_by_text("Keycloak").first.click()
        page.fill("#username", user)
        page.fill("#password", password)
        page.click("#kc-login")
        page.wait_for_url(re.compile(re.escape(f"{console.root}{at}")))
        try:
            yield console
        finally:
            context.close()


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            yield Browser(chromium)
        finally:
            chromium.close()

"""A headless browser, Debian's Chromium, for logins to the console."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30_000
"""Milliseconds to wait for a text on a page."""


@dataclass
class Console:
    """The console in one person's browser."""

    page: Any
    root: str
    websockets: list[str] = field(default_factory=list)

    def text(self, path: str, *texts: str) -> str:
        """The text of a page once it has these texts."""
        self.page.goto(f"{self.root}{path}")
        return self.now(*texts)

    def now(self, *texts: str) -> str:
        """The text of the current page once it has these texts."""
        for text in texts:
            self.page.get_by_text(text).first.wait_for()
        return str(self.page.inner_text("body"))

    def cookies(self) -> list[dict[str, Any]]:
        return list(self.page.context.cookies(f"{self.root}/"))

    def status(self, method: str, path: str, body: Any = None) -> int:
        """The status of the console's own API for this person."""
        ask = "async ([method, url, body]) => (await fetch(url, {method, body, headers: {'Content-Type': 'application/json'}})).status"
        return int(self.page.evaluate(ask, [method, f"{self.root}{path}", None if body is None else json.dumps(body)]))


class Browser:
    """One process, with a fresh profile for each person."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def console(self, url: str, user: str, password: str, at: str = "/browser") -> Iterator[Console]:
        """Logs in through Keycloak from the console's page, and returns with the page after the login."""
        context = self._chromium.new_context(ignore_https_errors=True)
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

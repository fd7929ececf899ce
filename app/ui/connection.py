"""Which broker this console shows, and the way to it: the embedded one, started and watched, or a remote one.

A remote one is reached with its console token, or by logging in as a user: the password is in the keyring, the login is
renewed before it ends (``app/client/login.py``), and what is wrong with it stands on the strip. Owns the ``BrokerClient`` of the context and the one ``FeedClient`` that fills the store. A gap that the store finds
leads to a new snapshot. Used by ``console.py`` alone. Imports nothing heavy: httpx and
websockets come when first used, after the window has been painted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.ui.strip_words import Connected

if TYPE_CHECKING:
    from app.client.feed import FeedClient, Link
    from app.client.login import Login
    from app.client.process import BrokerState
    from app.contract import FeedMessage
    from app.ui.context import Context

KEYRING_SLOW = 1.5
"""Seconds after which the strip says that a keyring is waited for: it may be asking for its password elsewhere."""


class Connection:
    """See the module's docstring. ``state`` is what the strip says about it."""

    def __init__(self, context: Context, data_dir: Path, serve_options: Sequence[str]) -> None:
        self._context = context
        self._data_dir = data_dir
        self._serve_options = serve_options
        self._feed: FeedClient | None = None
        self._watch: asyncio.Task[None] | None = None
        self._remote = ""
        self._login: Login | None = None
        self._logging_in: asyncio.Task[None] | None = None
        self.state = Connected()

    @property
    def is_remote(self) -> bool:
        """Whether it shows a broker that it does not start."""
        return bool(self._remote)

    def show_embedded(self) -> None:
        """Find or start this machine's broker, and show it."""
        if self._remote:
            self._forget()
        self._end_login()
        self._remote = ""
        self.state = Connected(name="this machine", text="Looking for the broker")
        from app.client.process import EmbeddedBroker

        if self._context.embedded is None:
            self._context.embedded = EmbeddedBroker(self._data_dir, self._embedded_changed, options=self._serve_options)
            self._watch = self._context.spawn(self._context.embedded.run(), "the embedded broker")
        else:
            self._embedded_changed(self._context.embedded.state)

    def show_remote(self, url: str) -> None:
        """Show the broker at ``url``; the embedded one, if it runs, goes on."""
        if url != self._remote:
            self._forget()
        self._end_login()
        self._remote = url
        self.state = Connected(name=url, text=f"Connecting to {url}", remote=True)
        user = remote_user(self._context, url)
        if user:
            self._begin_login(url, user)
        else:
            self._context.spawn(self._attach_remote(url), f"connect to {url}")

    def resync(self) -> None:
        """F5: everything afresh."""
        if self._feed is not None:
            self._feed.resync()

    async def close(self) -> None:
        """Let go of the broker, which goes on."""
        if self._context.client is not None:
            await self._context.client.close()

    def _forget(self) -> None:
        """Rows, ghosts and acts of the last broker are nothing on the next."""
        self._context.store.forget()
        self._context.actions.undo_stack.clear()

    # -- a login -----------------------------------------------------------------------------------------------

    def _begin_login(self, url: str, user: str) -> None:
        from app.client.login import Login

        def renewed(token: str) -> None:
            if self._remote == url:
                self._use_token(url, token)

        def troubled(text: str) -> None:
            if self._remote == url:
                self._context.notice("login", text)

        password = self._context.passwords.get((url, user))
        self._login = Login(url, user, renewed, troubled, password=password)
        self._logging_in = self._context.spawn(self._login.run(), f"the login at {url}")

    def _end_login(self) -> None:
        """Log out of the last broker, and renew nothing any more."""
        login, self._login = self._login, None
        task, self._logging_in = self._logging_in, None
        if task is not None:
            task.cancel()
        self._context.notice("login", "")
        if login is not None:
            self._context.spawn(login.log_out(), "log out")

    def _use_token(self, url: str, token: str) -> None:
        """The first login connects; a later one only replaces the token that both connections carry."""
        client, feed = self._context.client, self._feed
        if client is None or client.base_url != url.rstrip("/") or client.token is None or feed is None:
            self._attach(url, token)
            return
        client.token = token
        feed.renew(token)

    # -- inside ------------------------------------------------------------------------------------------------

    def _embedded_changed(self, state: BrokerState) -> None:
        if self._remote:
            return
        self.state = Connected("this machine", state.text, state.text if state.read_only else "")
        if state.state == "running" and state.url is not None:
            self._attach(state.url, state.token)

    async def _attach_remote(self, url: str) -> None:
        from app.client.credentials import Credentials, CredentialsError

        token = self._context.tokens.get(url) or os.environ.get("CALLBOARD_TOKEN")
        missing = ""
        if not token:
            slow = asyncio.get_running_loop().call_later(KEYRING_SLOW, self._wait_for_keyring, url)
            try:
                token = await Credentials().get(url)
            except CredentialsError as error:
                missing = error.message
            finally:
                slow.cancel()
        if self._remote != url:
            return
        if not token:
            self._context.toast(f"No token is kept for {url}. {missing} Settings, Brokers takes one.", tone="error")
        self._attach(url, token)

    def _wait_for_keyring(self, url: str) -> None:
        if self._remote == url:
            text = f"Waiting for the keyring with the token of {url}: it may ask for its password"
            self.state = Connected(name=url, text=text, remote=True)

    def _attach(self, url: str, token: str | None) -> None:
        from app.client.api import BrokerClient
        from app.client.feed import FeedClient

        context = self._context
        old = context.client
        if old is None or (old.base_url, old.token) != (url.rstrip("/"), token):
            context.client = BrokerClient(url, token, context.operator)
            if old is not None:
                context.spawn(old.close(), "close the connections to the last broker")
        if self._feed is None:
            self._feed = FeedClient(url, token, self._on_message, self._on_link)
            context.spawn(self._feed.run(), "the feed")
        else:
            self._feed.retarget(url, token)

    def _on_message(self, message: FeedMessage) -> None:
        if not self._context.store.receive(message) and self._feed is not None:
            self._feed.resync()

    def _on_link(self, link: Link) -> None:
        store = self._context.store
        store.set_link(link.state, link.since, link.text)
        if link.code == "refused" and self._login is not None:
            self._login.renew_now()
        if link.state == "live" and not store.in_step and self._feed is not None:
            self._feed.resync()  # it was silent and speaks again: what it said meanwhile is not known to be whole
        if self._remote:
            read_only = link.text or "This broker is read only for this console" if link.read_only else ""
            self.state = Connected(self._remote, link.text if link.state != "live" else "", read_only, remote=True)


def remote_user(context: Context, url: str) -> str:
    """Who logs in at a remote broker; "" for one that is reached with its console token."""
    entries = (entry for entry in context.settings.get("brokers") if isinstance(entry, dict))
    return next((str(entry.get("user") or "") for entry in entries if entry.get("url") == url), "")

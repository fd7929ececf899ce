"""Settings, "Brokers": which broker this console shows, the embedded one's process, and remote ones.

A remote broker is reached with its console token or by logging in there. Tokens and passwords go to the keyring (``app/client/credentials.py``), never to the settings file; where there is no keyring the
section says so and they last until the console closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from PySide6.QtWidgets import QGridLayout, QLineEdit, QVBoxLayout

from app.client.credentials import Credentials, CredentialsError
from app.client.transport import base_url_of
from app.errors import ConfigError
from app.models.wording import date_text, plain
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.dialogs.fields import Field, FieldError, line_edit
from app.ui.dialogs.quit_panel import live_text, what_ends
from app.ui.pages.settings.section import FIELD, Section, button, clear, row
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.process import BrokerState, EmbeddedBroker
    from app.client.shapes import BrokerView
    from app.ui.context import Context

RESTART_NOTE = "Streams and sessions come back with their ids; negotiations that are under way fail."
STOP_NOTE = "Nothing can be advertised or taken until it is started again."


class BrokersSection(Section):
    """Shows the broker in use, switches between brokers, keeps the list of remote ones."""

    title: ClassVar[str] = "Brokers"
    intro: ClassVar[str] = "The broker keeps the board; this console shows one broker at a time."

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.facts = QGridLayout()
        self.facts.setHorizontalSpacing(16)
        self.facts.setVerticalSpacing(4)
        self.facts.setColumnStretch(1, 1)
        group = self.group("In use")
        group.addLayout(self.facts)
        self.restart_button = button("Restart…", self.ask_restart)
        self.stop_button = button("Stop…", self.ask_stop, "danger")
        self.start_button = button("Start", self.start_broker, "primary")
        group.addLayout(row(self.restart_button, self.start_button, self.stop_button, None))
        self.list = QVBoxLayout()
        self.list.setSpacing(4)
        self.group("Brokers of this console").addLayout(self.list)
        self._build_new()
        self.finish()

    def _build_new(self) -> None:
        group = self.group("Add a remote broker")
        self.name = Field("name", "Name", line_edit("House rack"))
        self.url = Field("url", "Address", line_edit("https://callboard.venue:8080", mono=True), parse=_url)
        secret = line_edit("optional", mono=True)
        secret.setEchoMode(QLineEdit.EchoMode.Password)
        self.token = Field(
            "token",
            "Token",
            secret,
            hint="From console.token in that broker's data folder; or log in:",
        )
        self.user = Field("user", "User", line_edit("optional"))
        hidden = line_edit("")
        hidden.setEchoMode(QLineEdit.EchoMode.Password)
        self.password = Field("password", "Password", hidden)
        for field in (self.name, self.url, self.token):
            field.setMaximumWidth(FIELD)
            group.addWidget(field)
        for field in (self.user, self.password):
            field.setFixedWidth((FIELD - 8) // 2)
        group.addLayout(row(self.user, self.password, None))
        self._fields = (self.name, self.url, self.token, self.user, self.password)
        for field in self._fields:
            field.entered.connect(self.add)
        self.keyring = plain_label("", "hint", wrap=True)
        self.keyring.hide()
        group.addWidget(self.keyring)
        group.addLayout(row(button("Add broker", self.add), None))

    def activate(self) -> None:
        """Show the list now, the broker's own words when they come."""
        self._show_list()
        self._show_facts(None)
        self.ask(lambda client: client.broker(), self._show_facts, "read what the broker says of itself")
        self.context.spawn(self._look_for_keyring(), "look for a keyring")

    # -- the broker in use -------------------------------------------------------------------------------------

    def _show_facts(self, info: BrokerView | None) -> None:
        clear(self.facts)
        context = self.context
        link = context.store.link
        hello = context.store.hello
        words = {"live": "connected since", "connecting": "connecting since", "down": "not reachable since"}[link.state]
        facts = [("Name", hello.broker if hello is not None else ""), ("Feed", f"{words} {date_text(link.since)}")]
        if link.text and link.state != "live":
            facts.append(("", link.text))
        if info is not None:
            facts += [
                ("Version", f"{info.version}, process {info.pid}, up since {date_text(info.started_at)}"),
                ("Data folder", info.data_dir),
                *(("Address" if name == "main" else name.upper(), url) for name, url in info.urls.items()),
            ]
        elif context.client is not None:
            facts.append(("Address", context.client.base_url))
        facts.append(("Carries", live_text(context)))
        for number, (name, text) in enumerate(facts):
            self.facts.addWidget(plain_label(name, "hint"), number, 0)
            self.facts.addWidget(plain_label(plain(text), "value", copyable=True), number, 1)
        self._show_process()

    def _show_process(self) -> None:
        embedded = self.embedded
        state: BrokerState | None = embedded.state if embedded is not None else None
        running = state is not None and state.state == "running"
        ours = embedded is not None and self._in_use("")
        self.restart_button.setVisible(ours and running)
        self.stop_button.setVisible(ours and running)
        self.start_button.setVisible(ours and state is not None and state.state in ("stopped", "failed"))
        if ours and state is not None and state.text:
            self.say(state.text)

    @property
    def embedded(self) -> EmbeddedBroker | None:
        """The broker that this console starts and watches."""
        return self.context.embedded

    def ask_restart(self) -> None:
        """Restart interrupts everybody for a moment: hold."""
        self._ask_process("Restart the broker", "Hold to restart", RESTART_NOTE, self._restart)

    def ask_stop(self) -> None:
        """Stop ends everybody: who loses what, then hold."""
        self._ask_process("Stop the broker", "Hold to stop", STOP_NOTE, self._stop_broker)

    def start_broker(self) -> None:
        """Start the embedded broker again."""
        if self.embedded is not None:
            self.context.spawn(self._then_show(self.embedded.start()), "start the broker")

    def _ask_process(self, title: str, verb: str, note: str, act: Any) -> None:
        panel = ConfirmPanel(self.context, title, what_ends(self.context), verb, note=note)
        panel.confirmed.connect(act)
        self.context.panels.show(panel)

    def _restart(self) -> None:
        if self.embedded is not None:
            self.context.spawn(self._then_show(self.embedded.restart()), "restart the broker")

    def _stop_broker(self) -> None:
        if self.embedded is not None:
            self.context.spawn(self._then_show(self.embedded.stop()), "stop the broker")

    async def _then_show(self, act: Any) -> None:
        await act
        self.activate()

    # -- the list ----------------------------------------------------------------------------------------------

    def _show_list(self) -> None:
        clear(self.list)
        self._add_line("Embedded broker", "on this machine, started by this console", "")
        for entry in remote_brokers(self.context):
            told = f"{entry['url']}, as {entry['user']}" if entry["user"] else entry["url"]
            self._add_line(entry["name"] or entry["url"], told, entry["url"])

    def _add_line(self, name: str, told: str, url: str) -> None:
        used = self._in_use(url)
        sign = plain_label("✓ in use" if used else "", "value")
        sign.setFixedWidth(64)
        parts: list[Any] = [sign, plain_label(plain(name)), plain_label(plain(told), "hint"), None]
        if not used:
            use = button("Use", lambda: self.use(url))
            use.setAccessibleName(f"Use {name}")
            parts.append(use)
        if url and not used:
            remove = button("Remove", lambda: self.remove(url))
            remove.setAccessibleName(f"Remove {name}")
            parts.append(remove)
        self.list.addLayout(row(*parts))

    def _in_use(self, url: str) -> bool:
        """Whether the broker at ``url`` ("" for the embedded one) is what this console shows."""
        client = self.context.client
        at = client.base_url if client is not None else ""
        remote = {entry["url"] for entry in remote_brokers(self.context)}
        return at == url if url else at not in remote

    def use(self, url: str) -> None:
        """Show another broker; it is not asked for anything else."""
        self.context.connect_to(url or None)
        self._show_list()

    def remove(self, url: str) -> None:
        """Forget a remote broker and its token, with Undo for the entry."""
        before = remote_brokers(self.context)
        self.context.settings.set("brokers", [entry for entry in before if entry["url"] != url])
        self._show_list()
        users = [entry["user"] for entry in before if entry["url"] == url]
        self.context.spawn(self._forget_secrets(url, users[0] if users else ""), "forget a token")

        def put_back() -> None:
            self.context.settings.set("brokers", before)
            self._show_list()

        self.tell(f"{url} forgotten, and its token with it", f"forget {url}", put_back)

    def add(self) -> None:
        """Put a broker on the list and its token into the keyring."""
        try:
            url: str = self.url.value()
        except FieldError as error:
            self.url.set_error(str(error))
            self.url.editor.setFocus()
            return
        have = remote_brokers(self.context)
        if any(entry["url"] == url for entry in have):
            self.url.set_error("this broker is in the list already")
            return
        user, password, token = self.user.text(), self.password.text(), self.token.text()
        if user and not password:
            self.password.set_error("a password is needed to log in")
            self.password.editor.setFocus()
            return
        entry = {"name": self.name.text(), "url": url} | ({"user": user} if user else {})
        self.context.settings.set("brokers", [*have, entry])
        for field in self._fields:
            field.set_text("")
        self._show_list()
        if user:
            self.context.passwords[(url, user)] = password
            self.context.spawn(self._keep_password(url, user, password), "keep a password")
        elif token:
            self.context.tokens[url] = token
            self.context.spawn(self._keep_token(url, token), "keep a token")

    async def _keep_password(self, url: str, user: str, password: str) -> None:
        try:
            await Credentials().set_password(url, user, password)
        except CredentialsError as error:
            self._say_keyring(error.message)

    async def _keep_token(self, url: str, token: str) -> None:
        try:
            await Credentials().set(url, token)
        except CredentialsError as error:
            self._say_keyring(error.message)

    async def _forget_secrets(self, url: str, user: str) -> None:
        self.context.tokens.pop(url, None)
        self.context.passwords.pop((url, user), None)
        try:
            await Credentials().delete(url)
            if user:
                await Credentials().delete_password(url, user)
        except CredentialsError as error:
            self._say_keyring(error.message)

    async def _look_for_keyring(self) -> None:
        self._say_keyring(await Credentials().missing())

    def _say_keyring(self, text: str) -> None:
        self.keyring.setText(text)
        self.keyring.setVisible(bool(text))


def remote_brokers(context: Context) -> list[dict[str, str]]:
    """Remote brokers of the settings file; entries that are none are left out."""
    entries = (entry for entry in context.settings.get("brokers") if isinstance(entry, dict))
    return [
        {"name": str(entry.get("name") or ""), "url": url, "user": str(entry.get("user") or "")}
        for entry in entries
        if isinstance(url := entry.get("url"), str) and url
    ]


def _url(text: str) -> str:
    if not text:
        raise FieldError("an address is needed, such as http://10.0.40.2:8080")
    try:
        return base_url_of(text)
    except ConfigError as error:
        raise FieldError(error.message) from error

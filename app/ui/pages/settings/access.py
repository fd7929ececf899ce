"""Settings, "Who may reach this broker" (ARCHITECTURE.md, "Access"): addresses, networks, API keys, in sentences.

Everything here is the broker's: it is asked when the section comes to the front, and each change is one PUT whose
answer is shown. Networks apply at once; the address it listens on, at its next start.
"""

from __future__ import annotations

import ipaddress
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtWidgets import QCheckBox, QVBoxLayout

from app.models.wording import plain
from app.ui.dialogs.fields import Field, FieldError, choice, line_edit, required
from app.ui.pages.settings.section import Section, beside, button, clear, copy_button, row, sentences
from app.ui.panel import HoldButton
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.client.shapes import AccessView, ApiKey, NewApiKey
    from app.ui.context import Context

HOSTS = (
    ("127.0.0.1", "This machine only (127.0.0.1)"),
    ("0.0.0.0", "Every IPv4 address of this machine (0.0.0.0)"),  # noqa: S104 - a choice offered to the operator
    ("::", "Every address, IPv6 too (::)"),
)


class AccessSection(Section):
    """Shows and changes who may reach the broker."""

    title: ClassVar[str] = "Who may reach this broker"
    intro: ClassVar[str] = "What other machines can do with this broker, and what they need for it."

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.view: AccessView | None = None
        self.words = self.group("In words")
        self.urls = self.group("Addresses to give to publishers and consumers")
        self._build_networks()
        self._build_listening()
        self._build_keys()
        self.finish()

    def activate(self) -> None:
        """Ask again: another console may have changed it."""
        self.ask(lambda client: client.access(), self.show_view, "read who may reach the broker")

    def show_view(self, view: AccessView) -> None:
        """Show the broker's answer."""
        self.view = view
        clear(self.words)
        for label in sentences(view.words or ["The broker did not say."]):
            self.words.addWidget(label)
        clear(self.urls)
        for url in view.urls:
            label = plain_label(plain(url), "mono", copyable=True)
            self.urls.addLayout(row(label, None, copy_button(self.context, partial(str, url), "Address")))
        self._show_networks(view.allow_networks)
        self.host.set_text(view.host)
        self.allow_plain.blockSignals(True)
        self.allow_plain.setChecked(view.allow_plain)
        self.allow_plain.blockSignals(False)
        self._show_keys(view.keys)

    # -- networks ----------------------------------------------------------------------------------------------

    def _build_networks(self) -> None:
        group = self.group(
            "Networks",
            "Machines in these networks may use the interfaces that have no login, without a key. They apply at once.",
        )
        self.networks = QVBoxLayout()
        self.networks.setSpacing(4)
        group.addLayout(self.networks)
        self.network = Field("allow_networks", "Add a network", line_edit("10.0.40.0/24", mono=True), parse=network)
        self.network.entered.connect(self.add_network)
        group.addLayout(beside(self.network, button("Add network", self.add_network)))

    def _show_networks(self, networks: list[str]) -> None:
        clear(self.networks)
        if not networks:
            self.networks.addWidget(plain_label("No network: only this machine, and clients with an API key.", "value"))
        for one in networks:
            label = plain_label(plain(one), "mono", copyable=True)
            told = plain_label(network_words(one), "hint")
            remove = button("Remove", partial(self.remove_network, one))
            remove.setAccessibleName(f"Remove {one}")
            self.networks.addLayout(row(label, told, None, remove))

    def add_network(self) -> None:
        """Add what was typed, if it is a network."""
        try:
            wanted: str = self.network.value()
        except FieldError as error:
            self.network.set_error(str(error))
            return
        have = list(self.view.allow_networks) if self.view is not None else []
        if wanted in have:
            self.network.set_error(f"{wanted} is in the list already")
            return
        self._put_networks([*have, wanted], f"{wanted} may reach the broker", have)
        self.network.set_text("")

    def remove_network(self, one: str) -> None:
        """Take a network away, with Undo."""
        have = list(self.view.allow_networks) if self.view is not None else []
        self._put_networks([other for other in have if other != one], f"{one} was taken off the list", have)

    def _put_networks(self, wanted: list[str], told: str, before: list[str]) -> None:
        async def put_back() -> None:
            if self.context.client is not None:
                self.show_view(await self.context.client.set_access(allow_networks=before))

        def then(view: AccessView) -> None:
            self.show_view(view)
            self.context.actions.tell(told, "change of the networks", put_back)

        self.act(lambda client: client.set_access(allow_networks=wanted), then, "change the networks")

    # -- where it listens --------------------------------------------------------------------------------------

    def _build_listening(self) -> None:
        group = self.group("Where it listens", "Takes effect when the broker starts next.")
        box = choice(HOSTS)
        box.setEditable(True)
        self.host = Field("host", "Address", box, parse=host)
        group.addLayout(beside(self.host, button("Save address", self.save_host)))
        self.allow_plain = QCheckBox("Keys and passwords may travel without TLS")
        self.allow_plain.setToolTip("Anybody on the network can read them. The strip of every console shows it.")
        self.allow_plain.toggled.connect(self._set_plain)
        group.addWidget(self.allow_plain)

    def save_host(self) -> None:
        """Remember another address for the next start."""
        try:
            wanted: str = self.host.value()
        except FieldError as error:
            self.host.set_error(str(error))
            return

        def then(view: AccessView) -> None:
            self.show_view(view)
            self.context.toast(f"The broker will listen on {view.host} from its next start on", tone="good")

        self.act(lambda client: client.set_access(host=wanted), then, "change the address")

    def _set_plain(self, allowed: bool) -> None:
        self.act(lambda client: client.set_access(allow_plain=allowed), self.show_view, "change the rule about TLS")

    # -- keys --------------------------------------------------------------------------------------------------

    def _build_keys(self) -> None:
        group = self.group(
            "API keys", "A client with a key may use the broker from any network it can be reached from."
        )
        self.keys = QVBoxLayout()
        self.keys.setSpacing(4)
        group.addLayout(self.keys)
        self.fresh = QVBoxLayout()
        group.addLayout(self.fresh)
        self.key_name = Field("name", "Name of a new key", line_edit("lighting desk"), parse=required)
        self.key_name.entered.connect(self.add_key)
        group.addLayout(beside(self.key_name, button("Create key", self.add_key)))

    def _show_keys(self, keys: list[ApiKey]) -> None:
        clear(self.keys)
        if not keys:
            self.keys.addWidget(plain_label("There is no key.", "value"))
        for key in keys:
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created_at)) if key.created_at else ""
            seconds = self.context.settings.get("hold_seconds")
            revoke = HoldButton("Hold to revoke", self.context.theme.color("danger"), seconds=seconds)
            revoke.setAccessibleName(f"Revoke {key.name}")
            revoke.fired.connect(partial(self.revoke, key))
            self.keys.addLayout(row(plain_label(plain(key.name)), plain_label(made, "hint"), None, revoke))

    def add_key(self) -> None:
        """Create a key; it is shown this one time."""
        try:
            name: str = self.key_name.value()
        except FieldError as error:
            self.key_name.set_error(str(error))
            return

        async def create(client: BrokerClient) -> tuple[NewApiKey, AccessView]:
            return await client.add_key(name), await client.access()

        self.act(create, lambda answer: self._show_fresh(*answer), "create an API key")

    def revoke(self, key: ApiKey) -> None:
        """Take a key back: its client is refused from now on."""

        async def delete(client: BrokerClient) -> AccessView:
            await client.delete_key(key.id)
            return await client.access()

        def then(view: AccessView) -> None:
            self.show_view(view)
            self.context.toast(f"Key {plain(key.name)} revoked", tone="good")

        self.act(delete, then, "revoke an API key")

    def _show_fresh(self, key: NewApiKey, view: AccessView) -> None:
        self.show_view(view)
        self.key_name.set_text("")
        clear(self.fresh)
        told = f"The key {plain(key.name)} is shown this once. Copy it now; the broker keeps only its fingerprint."
        self.fresh.addWidget(plain_label(told, "hint", wrap=True))
        text = plain_label(key.key, "mono", copyable=True)
        self.fresh.addLayout(
            row(text, None, copy_button(self.context, lambda: key.key, "Key"), button("I have it", self.forget_fresh))
        )

    def forget_fresh(self) -> None:
        """The key leaves the screen."""
        clear(self.fresh)

    def deactivate(self) -> None:
        """A key does not stay on a screen that nobody looks at."""
        self.forget_fresh()


def network(text: str) -> str:
    """A network in CIDR form; a single address is the network of itself."""
    if not text:
        raise FieldError("a network is needed, such as 10.0.40.0/24")
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise FieldError("not a network; write it as 10.0.40.0/24 or fd00:40::/64") from error
    address = text.split("/", maxsplit=1)[0]
    if found.prefixlen < found.max_prefixlen and str(found.network_address) != str(ipaddress.ip_address(address)):
        raise FieldError(f"{address} is an address inside a network; the network is {found}")
    return str(found)


def network_words(text: str) -> str:
    """How many addresses a network has, in words."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ""
    if found.prefixlen == 0:
        return "every address there is"
    if found.num_addresses == 1:
        return "one machine"
    return f"{found.num_addresses} addresses" if found.num_addresses <= 65536 else "more than 65,536 addresses"


def host(text: str) -> str:
    """An address to listen on, chosen or typed."""
    for address, words in HOSTS:
        if text in (address, words):
            return address
    if not text or any(character.isspace() for character in text):
        raise FieldError("an address of this machine is needed")
    return text

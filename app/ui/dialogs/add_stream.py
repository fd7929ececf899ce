"""The panel that adds a stream by address (seed 000, POST /streams/advertise) and what keeps it alive.

A stream needs a heartbeat every 10 s. A source that cannot send any, a camera with a fixed address, may be beaten
from this console: the panel says so, the stream's metadata says so to everybody else, and it ends with the window.
A publisher that answers negotiations is not replaced by this: without one, a take is refused at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox

from app.client.api import ApiError
from app.contract import BUILT_IN_TYPES, HEARTBEAT_EVERY, PROTOCOLS
from app.models.wording import plain
from app.ui.dialogs.fields import Field, choice, json_edit, json_object, line_edit, optional, port, required
from app.ui.dialogs.form_panel import FormPanel

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

REMEMBERED = ("stream_type", "protocol", "publisher_id")
BEATEN_BY = "heartbeats_from"
"""Key of the stream's metadata that names the console which beats it."""


class AddStream(FormPanel):
    """Asks for a stream; ``added`` carries its id."""

    added = Signal(str)

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, "Add a stream", "Advertise",
            subtitle="For a source that does not advertise itself. The name is for people; the broker gives the id.",
        )  # fmt: skip
        last = context.settings.get("add_stream/last")
        form = self.form
        form.add(Field("name", "Name", line_edit("Stage left camera"), parse=required))
        self.types = choice((name, name) for name in type_names(context))
        self.types.setMaxVisibleItems(20)
        protocols = choice((name, name) for name in PROTOCOLS)
        self.add_pair(Field("stream_type", "Type", self.types), Field("protocol", "Protocol", protocols))
        address = Field("address", "Address", line_edit("10.0.40.21", mono=True), parse=required)
        number = Field("port", "Port", line_edit("5960", mono=True), parse=port)
        self.add_pair(address, number, stretch=(3, 1))
        form.add(Field("publisher_id", "Publisher", line_edit("who sends it"), parse=required))
        form.add(
            Field(
                "config",
                "Format",
                json_edit('{"width": 1920, "height": 1080, "fps": 50}'),
                hint="JSON object.",
                parse=json_object,
            )
        )
        form.add(
            Field("metadata", "Metadata", json_edit('{"tags": ["stage"]}', 2), hint="JSON object.", parse=json_object)
        )
        entity = Field("entity_id", "Entity", line_edit("UUID, optional", mono=True), parse=optional)
        device = Field("device_id", "Device", line_edit("UUID, optional", mono=True), parse=optional)
        self.add_pair(entity, device)
        self.beat = QCheckBox("Send its heartbeats from this console")
        self.beat.setChecked(True)
        self.beat.setToolTip("Without heartbeats the stream is gone after 30 s.")
        form.add_widget(self.beat)
        self.finish()
        for name in REMEMBERED:
            if isinstance(last.get(name), str):
                form.fields[name].set_text(last[name])

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Advertise it, and beat it when asked to."""
        context = self.context
        beaten = self.beat.isChecked()
        body = {key: value for key, value in values.items() if value is not None}
        if beaten:
            body["metadata"] = {**body["metadata"], BEATEN_BY: beaten_by(context)}
        made = await client.advertise(body)
        context.settings.set("add_stream/last", {name: values[name] for name in REMEMBERED})
        if beaten:
            context.spawn(keep_alive(context, client, made.id), f"heartbeats of {made.name}")
        tail = "" if beaten else "; its publisher has 30 s for the first heartbeat"
        label = f"advertise {plain(made.name)}"
        context.actions.tell(f"{plain(made.name)} advertised{tail}", label, lambda: client.withdraw(made.id))
        self.added.emit(made.id)


def beaten_by(context: Context) -> str:
    """How the metadata of a stream names this console."""
    return f"the console of {context.operator}"


async def keep_alive(context: Context, client: BrokerClient, stream_id: str, every: float = HEARTBEAT_EVERY) -> None:
    """Beat a stream until it is gone or this console turns to another broker; a broker that is away is waited for."""
    while context.client is client:
        await asyncio.sleep(every)
        try:
            await client.heartbeat(stream_id)
        except ApiError as error:
            if error.status == 404:
                return


def type_names(context: Context) -> list[str]:
    """Types by name: those of the broker, or the built-in ones before it has told them."""
    return sorted({row.name for row in context.store.types.values()} or BUILT_IN_TYPES)

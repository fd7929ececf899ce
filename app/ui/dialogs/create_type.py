"""The panel that creates a stream type (seed 000, POST /streams/types)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal

from app.ui.dialogs.fields import Field, json_edit, json_object, line_edit, optional, required
from app.ui.dialogs.form_panel import FormPanel

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context


class CreateType(FormPanel):
    """Asks for a type; ``created`` carries its name. Once created, publishers may advertise it."""

    created = Signal(str)

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, "Create a stream type", "Create type",
            subtitle="Publishers may advertise it as soon as it exists. A type cannot be changed or removed later.",
        )  # fmt: skip
        form = self.form
        form.add(Field("name", "Name", line_edit("lidar"), hint="What publishers send as stream_type.", parse=required))
        form.add(Field("display_name", "Shown as", line_edit("LiDAR point cloud"), parse=required))
        form.add(Field("description", "Description", line_edit("optional"), parse=optional))
        form.add(
            Field("icon", "Icon", line_edit("optional"), hint="A name that other clients may know.", parse=optional)
        )
        form.add(
            Field(
                "default_config",
                "Default configuration",
                json_edit('{"rate_hz": 20}'),
                hint="JSON object; a suggestion for publishers.",
                parse=json_object,
            )
        )
        form.add(Field("metadata", "Metadata", json_edit(), hint="JSON object, kept with the type.", parse=json_object))
        self.finish()

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Create it and say so."""
        made = await client.create_type(values)
        self.context.toast(f"Type {made.name} created", tone="good")
        self.created.emit(made.name)

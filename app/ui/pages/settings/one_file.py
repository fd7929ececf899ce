"""Settings, "Export and import": everything that can go to another machine, as one file, and back with Undo."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from app.client.api import ApiError
from app.contract import PresetRow, TypeRow
from app.errors import Conflict, Invalid
from app.models.wording import plain
from app.ui.dialogs.fields import Field, FieldError, line_edit
from app.ui.export import default_folder, whole_path
from app.ui.pages.settings.section import Section, beside, button
from app.ui.settings_file import SettingsFile, apply_console, collect, console_values, read, write

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

NAME = "callboard-settings.json"


@dataclass
class _Came:
    """What an import has changed, to be told and to be taken back."""

    console: dict[str, Any]
    """Values before, by whole key; what had none is not in it."""
    touched: list[str] = field(default_factory=list)
    made: list[PresetRow] = field(default_factory=list)
    before: list[PresetRow] = field(default_factory=list)
    default: PresetRow | None = None
    """The preset that R took to."""
    types: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """In one sentence."""
        parts = (
            (len(self.touched), "setting", "settings"),
            (len(self.made), "new preset", "new presets"),
            (len(self.before), "changed preset", "changed presets"),
            (self.types, "new stream type", "new stream types"),
        )
        told = [f"{count} {one if count == 1 else many}" for count, one, many in parts if count]
        return f"Imported: {', '.join(told)}" if told else "Everything in this file is here already"


class OneFileSection(Section):
    """Two files to name and two buttons."""

    title: ClassVar[str] = "Export and import"
    intro: ClassVar[str] = (
        "Theme, guards, addresses of brokers, programs that open streams, consumer presets and created stream types as "
        "one file. What you log in to brokers with is never in it. What you have written into configurations, defaults "
        "and programs' arguments is in it as it stands: look there for secrets before you pass the file on."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        suggested = str(default_folder(context.settings) / NAME)
        group = self.group("Export")
        self.out = Field("export", "File to write", line_edit(mono=True), parse=whole_path)
        self.out.set_text(suggested)
        self.out.entered.connect(self.export)
        self.out.changed.connect(lambda: self._ask_again(None))
        self.export_button = button("Export", self.export, "primary")
        group.addLayout(beside(self.out, self.export_button, width=520))
        group = self.group(
            "Import",
            "Presets are known by their names: one that is here is changed, others stay as they are. "
            "A broker or a stream type that is here stays as it is.",
        )
        self.source = Field("import", "File to read", line_edit(mono=True), parse=whole_path)
        self.source.set_text(suggested)
        self.source.entered.connect(self.import_)
        group.addLayout(beside(self.source, button("Import", self.import_), width=520))
        self.finish()
        self._replace: Path | None = None

    def export(self) -> None:
        """Write the file; one that exists is replaced at the second press."""
        path = _path_of(self.out)
        if path is None:
            return
        if path.exists() and self._replace != path:
            self._ask_again(path)
            self.out.set_error("This file exists. Press again to replace it.")
            return
        self.context.spawn(self._export(path), "export of the settings")

    def import_(self) -> None:
        """Read the file, check it whole, then use it."""
        path = _path_of(self.source)
        if path is None:
            return
        if self.context.actions.blocked:
            self.source.set_error(f"{self.context.actions.blocked}. Nothing was changed.")
            return
        self.context.spawn(self._import(path), "import of settings")

    def _ask_again(self, path: Path | None) -> None:
        self._replace = path
        self.export_button.setText("Export" if path is None else "Replace")

    async def _export(self, path: Path) -> None:
        data = collect(self.context.settings, self.context.store)
        try:
            await asyncio.to_thread(write, path, data)
        except OSError as error:
            self.out.set_error(f"{path}: {error.strerror or error}")
            return
        self._ask_again(None)
        self.context.settings.set("export/folder", str(path.parent))
        self.context.toast(f"Settings exported to {path}", tone="good")

    async def _import(self, path: Path) -> None:
        try:
            found = await asyncio.to_thread(read, path)
        except OSError as error:
            self.source.set_error(f"{path}: {error.strerror or error}")
            return
        except Invalid as error:
            self.source.set_error(error.message)
            return
        came = self._use_console(found)
        client = self.context.client
        if client is not None:
            await self._use_presets(client, found, came)
            await self._use_types(client, found, came)

        async def undo() -> None:
            await self._take_back(came)

        self.context.actions.tell(came.words, "import settings", undo)
        for words in came.failed:
            self.context.toast(plain(words), tone="error")

    def _use_console(self, found: SettingsFile) -> _Came:
        settings = self.context.settings
        before = console_values(settings)
        came = _Came(before)
        came.failed = apply_console(settings, found.console)
        after = console_values(settings)
        came.touched = [key for key in after if key not in before or before[key] != after[key]]
        self._dress()
        return came

    async def _use_presets(self, client: BrokerClient, found: SettingsFile, came: _Came) -> None:
        here = {row.name: row for row in self.context.store.presets.values()}
        came.default = next((row for row in here.values() if row.default), None)
        for preset in found.presets:
            known = here.get(preset.name)
            wanted = _as_row(preset, known)
            if wanted == known:
                continue
            try:
                saved = await client.save_preset(wanted)
            except ApiError as error:
                came.failed.append(f"Preset {preset.name}: {error.text}")
                continue
            if known is None:
                came.made.append(saved)
            else:
                came.before.append(known)

    async def _use_types(self, client: BrokerClient, found: SettingsFile, came: _Came) -> None:
        here = {row.name for row in self.context.store.types.values()}
        for kind in found.types:
            if kind.name in here:
                continue
            try:
                await client.create_type(_definition(kind))
            except ApiError as error:
                came.failed.append(f"Stream type {kind.name}: {error.text}")
            else:
                came.types += 1

    async def _take_back(self, came: _Came) -> None:
        """Settings and presets as they were; a stream type cannot be removed."""
        for key in came.touched:
            if key in came.console:
                self.context.settings.put(key, came.console[key])
            else:
                self.context.settings.forget(key)
        self._dress()
        client = self.context.client
        left = await _take_presets_back(client, came) if client is not None else []
        if left:
            raise Conflict("; ".join(left))

    def _dress(self) -> None:
        """The theme of the settings, at once."""
        theme = self.context.settings.get("theme")
        if theme != self.context.theme.name:
            self.context.switch_theme(theme)


async def _take_presets_back(client: BrokerClient, came: _Came) -> list[str]:
    """Presets as they were; each that could not be made so, in words. Raises ``ApiError`` 0: all can be tried again."""
    left = []
    for preset in came.made:
        try:
            await client.delete_preset(preset.id)
        except ApiError as error:
            if not error.status:
                raise
            if error.status != 404:  # somebody else has deleted it
                left.append(f"preset {plain(preset.name)} stays: {error.text}")
    last = [came.default] if came.default is not None and (came.made or came.before) else []
    for preset in [*came.before, *last]:
        try:
            await client.save_preset(preset)
        except ApiError as error:
            if not error.status:
                raise
            left.append(f"preset {plain(preset.name)} is not as it was: {error.text}")
    return left


def _path_of(shown: Field) -> Path | None:
    """The file that a field names; None after saying at it what is wrong."""
    try:
        path: Path = shown.value()
    except FieldError as error:
        shown.set_error(str(error))
        return None
    return path


def _as_row(preset: PresetRow, known: PresetRow | None) -> PresetRow:
    """A preset of the file as the broker keeps it, under the id of the one of its name."""
    fields = msgspec.to_builtins(preset) | {"id": known.id if known is not None else ""}
    return msgspec.convert(fields, PresetRow)


def _definition(kind: TypeRow) -> dict[str, Any]:
    keys = ("name", "display_name", "description", "icon", "default_config", "metadata")
    return {key: getattr(kind, key) for key in keys}

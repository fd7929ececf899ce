"""The panel that changes the tags of one desktop session, or adds and takes away tags of several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from app.ui.dialogs.fields import Field, FieldError, line_edit
from app.ui.dialogs.form_panel import FormPanel
from app.ui.verbs_desktops import desktop_name, set_tags

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

MOST_TAGS = 50
LONGEST_TAG = 100


def tag_list(text: str) -> list[str]:
    """Tags separated by commas, each once."""
    tags = list(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))
    if len(tags) > MOST_TAGS:
        raise FieldError(f"at most {MOST_TAGS} tags")
    if any(len(tag) > LONGEST_TAG for tag in tags):
        raise FieldError(f"a tag has at most {LONGEST_TAG} characters")
    return tags


class EditTags(FormPanel):
    """See the module's docstring. Each change can be undone."""

    of_page = True

    def __init__(self, context: Context, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        several = len(self.ids) > 1
        title = f"Tags of {len(self.ids)} sessions" if several else f"Tags of {desktop_name(context, self.ids[0])}"
        super().__init__(
            context, title, "Change tags", subtitle="Separated by commas. The filter finds them: tag:rehearsal"
        )
        if several:
            self.form.add(Field("add", "Add to each", line_edit("rehearsal, act 2"), parse=tag_list))
            self.form.add(Field("remove", "Take from each", line_edit("setup"), parse=tag_list))
        else:
            field = self.form.add(Field("tags", "Tags", line_edit("rehearsal, act 2"), parse=tag_list))
            row = context.store.desktops.get(self.ids[0])
            field.set_text(", ".join(row.tags) if row is not None else "")
        self.finish()

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """One goes as an act of its own, several as one act at the pace of the broker's limits."""
        store = self.context.store
        wanted = {one: self._wanted(store.desktops[one].tags, values) for one in self.ids if one in store.desktops}
        changed = {one: tags for one, tags in wanted.items() if tags != store.desktops[one].tags}
        acts = {one: partial(set_tags, self.context, one, tags) for one, tags in changed.items()}
        if len(acts) == 1:
            ((one, act),) = acts.items()
            self.context.actions.start("tags", one, act)
        elif acts:
            self.context.actions.start_all("tags", acts)
        else:
            self.context.toast("Tags: nothing to change")

    def _wanted(self, before: Sequence[str], values: dict[str, Any]) -> list[str]:
        if "tags" in values:
            return list(values["tags"])
        kept = [tag for tag in before if tag not in values["remove"]]
        return list(dict.fromkeys([*kept, *values["add"]]))

"""The Settings page: a list of sections at the left, one section at the right; each section is one module."""

from app.ui.pages.settings.page import SettingsPage

__all__ = ["SettingsPage"]

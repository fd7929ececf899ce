"""The console: windows, pages and actions on Qt. ``main.py`` puts it together; nothing else in the project imports it."""

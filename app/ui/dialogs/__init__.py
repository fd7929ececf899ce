"""Panels in place: everything that asks, warns or explains without hiding the tables. One module each."""

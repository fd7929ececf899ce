"""Dialect StreamSpace: the control plane's API of seed 001, under ``/api/v1``, ``/vnc-viewer`` and ``/agent``."""

"""The console's memory, without widgets: store, states, filter language, series, undo; Qt only in ``tables``."""

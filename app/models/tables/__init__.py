"""Qt item models over the store: one module per table, all on ``rows.RowTable``."""

"""Dialect Maestra: the Streams API of seed 000, thirteen operations on the main port."""

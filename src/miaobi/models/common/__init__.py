"""Blocks that more than two families share."""

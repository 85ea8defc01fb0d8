"""Figures of quality, each a pure function."""

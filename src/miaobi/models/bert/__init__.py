"""Masked language models: they fill gaps, write by filling, and classify or tag what they read."""

"""The family `rules`: texts from a grammar that a person writes."""

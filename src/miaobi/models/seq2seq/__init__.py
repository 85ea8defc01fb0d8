"""Encoder and decoder: one text from another, as a title from a poem, a poem from a title, a summary, a translation."""

"""A text of any length, read aloud."""

"""Style transfer: one picture's content in the manner of another, of a named style, or of another set of pictures."""

"""The library: every content that is kept, what people thought of it, and what can be learned from that."""

"""Decoding strategies as pure functions over logits, written once for numpy and torch."""

"""Generative adversarial networks of pictures."""

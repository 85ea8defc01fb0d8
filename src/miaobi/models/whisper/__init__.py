"""Whisper: sound to text with times."""

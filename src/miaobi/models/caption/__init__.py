"""Captioner: what a picture shows, in Chinese or in English."""

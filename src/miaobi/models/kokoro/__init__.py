"""Kokoro-82M: text to speech in Mandarin and English through ONNX Runtime."""

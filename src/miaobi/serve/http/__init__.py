"""The HTTP server: OpenAI's routes under `/v1`, and a house around them that keeps strangers, floods and broken requests out."""

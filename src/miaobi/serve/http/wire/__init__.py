"""OpenAI's shapes: what clients send and expect, translated from and to the house's own words."""

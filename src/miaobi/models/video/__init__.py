"""The family `video`: diffusion over short clips."""

"""Layer 2, model: one folder a family."""

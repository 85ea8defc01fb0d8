"""Layer 3, the scenarios: one folder each with a light `app.py`, and `common/` for what several share. Apps never import each other."""

"""A timeline in YAML as a film."""

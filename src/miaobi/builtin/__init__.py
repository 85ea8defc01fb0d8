"""The models that ship inside the package: weights, card and recipe each."""

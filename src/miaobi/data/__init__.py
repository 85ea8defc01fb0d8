"""Layer 1, data: files become Records become Datasets."""

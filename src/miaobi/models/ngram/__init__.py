"""Interpolated modified Kneser-Ney n-grams: a language model by counting."""

"""Family `wavenet`: sounds, sample by sample."""

"""Variational autoencoders of pictures, and the latent codec of latent diffusion."""

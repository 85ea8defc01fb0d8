"""Diffusion and flow models of pictures: pixels or latents, steered by class, text, style or a smaller picture."""

"""Any diffusers folder: Stable Diffusion 1 to 3 and XL, Flux, PixArt and whatever else the library runs."""

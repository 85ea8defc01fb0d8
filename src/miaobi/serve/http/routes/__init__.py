"""One module an area, each with `router`; `app.AREAS` lists them."""

"""The shared words of the house: types, protocols, families, recipes, artifacts and errors. Only `schema` and `recipe` need pydantic."""

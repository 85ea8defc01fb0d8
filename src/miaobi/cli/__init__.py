"""The command line: a verb table that imports nothing heavy, and one thin module a verb."""

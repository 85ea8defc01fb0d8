"""The verbs as tools for agents, over the Model Context Protocol: a table of tools, and the server that offers it."""

"""The engine room: train, generate, evaluate, export; families only bring what is theirs."""

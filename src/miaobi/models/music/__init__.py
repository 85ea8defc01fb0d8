"""Music: scores as sequences of events on the shared Transformer, kept in key and metre by constraints on decoding."""

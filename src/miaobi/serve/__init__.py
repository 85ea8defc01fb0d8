"""Work that is asked for from outside a terminal's life: durable jobs and their workers."""

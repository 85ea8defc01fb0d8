"""What makes content accountable: label, verify, replay, originality, safety."""

"""Language models that read token by token: Bengio's feed-forward window, Elman's network, LSTM and GRU."""

"""How a door is opened: TLS, a worker that silent clients cannot stop, and log lines without secrets."""

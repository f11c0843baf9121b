"""What an operator sees: metrics, probes, the status page and the log."""

"""Audit events -> Falco: queue, batches, retries, one destination for each webhook."""

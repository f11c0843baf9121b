"""Event Hubs, and nothing else: the one thread, the SDK and all that tames it."""

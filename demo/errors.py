"""What ends a run of the demo before its time."""


class DemoError(Exception):
    """The demo cannot go on; the text says why, for whoever has started it."""

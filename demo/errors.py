"""The error that ends a run of the demo early."""


class DemoError(Exception):
    """The demo cannot go on; the text tells the user why."""

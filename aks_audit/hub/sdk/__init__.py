"""Everything that holds on to azure-eventhub itself.

The SDK has no public way to some of what a forwarder must have. Whatever touches a private name
of it stands in this package, is named in `names.PRIVATE_NAMES`, and is checked at the start;
pyproject.toml pins the SDK for that reason. Read and tried with azure-eventhub 5.15.1.
"""

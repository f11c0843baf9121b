"""The whole path on one machine: a believable stream, an emulated hub, a stand-in for Falco.

Nothing here is shipped with the forwarder; the tests and the benchmarks use the same parts.
"""

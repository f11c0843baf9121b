"""Throughput, latency, memory and CPU of the forwarder, measured against its ceilings."""

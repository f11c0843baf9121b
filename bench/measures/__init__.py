"""The measurements: each is given the programs and a scale, and yields its rows of the table."""

from bench.measures.backlog import defaults, scaling, throughput
from bench.measures.latency import latency
from bench.measures.partitions import partitions
from bench.measures.process import memory, start

__all__ = ["defaults", "latency", "memory", "partitions", "scaling", "start", "throughput"]

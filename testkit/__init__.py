"""What the demo, the tests and the benchmarks share; nothing here is shipped with the forwarder.

`streams` makes the hub events, `falco` is the stand-in that receives the audit events, and `rig`
wires both to the emulator and to forwarders that run as real processes.
"""

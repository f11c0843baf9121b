"""The whole path on one machine: emulated hub, forwarder, stand-in for Falco (`make demo`)."""

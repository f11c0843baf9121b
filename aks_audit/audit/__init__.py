"""Bytes of a hub event -> audit events. Pure: no clock, socket, thread or logger."""

"""The body of a hub event becomes audit events. Pure: no clock, socket, thread or logger."""

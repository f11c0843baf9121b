"""How far each partition is done, and where that is written down."""

"""The environment, read once and checked as a whole, as frozen values."""

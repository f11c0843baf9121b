"""What cannot be delivered is kept here, with its bytes and the reason."""

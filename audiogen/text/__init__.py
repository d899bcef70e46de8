"""Text front end: written text to sentences of phone tokens."""

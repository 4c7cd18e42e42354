"""What comes in with a request: who may ask, and what is asked for."""

"""Credentials to Identity: API keys and signed tokens."""

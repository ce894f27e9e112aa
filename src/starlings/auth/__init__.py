"""Credentials to identities: accounts, API keys, access tokens."""

"""Starlings: a self-hosted real-time state server that speaks the Twilio Sync protocols."""

__all__ = ["__version__"]

__version__ = "0.1.0"

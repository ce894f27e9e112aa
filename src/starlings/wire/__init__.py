"""The WebSocket protocol, sans-I/O, both sides."""

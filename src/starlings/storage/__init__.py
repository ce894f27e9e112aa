"""Where state and the event log live: the store's port and its adapters."""

"""The embedded default store, kept in one SQLite file."""

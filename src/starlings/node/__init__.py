"""One running server's heart: execute commands, feed those who listen."""

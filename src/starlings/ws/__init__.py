"""The socket face: pumps bytes between a connection and the wire session, nothing else."""

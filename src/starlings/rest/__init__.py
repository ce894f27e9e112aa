"""The HTTP face: requests to commands, outcomes and refusals to responses."""

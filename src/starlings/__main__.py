"""``python -m starlings``: the same as the command."""

from __future__ import annotations

from starlings.cli import main

if __name__ == "__main__":
    main()

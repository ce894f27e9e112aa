"""How nodes tell each other that something happened: the bus's port and its adapters."""

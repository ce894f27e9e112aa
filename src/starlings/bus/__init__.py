"""How nodes will tell each other that something happened. Empty: one node has nobody to tell."""

"""What Sync is: values and rules, with no I/O, no clock, no logging and no async."""

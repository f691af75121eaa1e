"""From a command line to a checked configuration, and from that to objects."""

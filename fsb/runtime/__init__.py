"""Runtime support: devices, random numbers, XLA, progress and interrupts."""

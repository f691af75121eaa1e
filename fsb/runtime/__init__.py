"""What a program runs on: devices, random numbers, XLA, progress, interrupts."""

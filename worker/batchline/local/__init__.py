"""Everything on this machine: an embedded store, the emulator and the workers as child processes (demo, dev, tests)."""

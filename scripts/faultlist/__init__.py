"""What the harness survives, shown on the real program: one module a group of faults, one function a row."""

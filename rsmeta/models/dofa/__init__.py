"""DOFA: a plain vision transformer whose filters a small network makes of wavelengths."""

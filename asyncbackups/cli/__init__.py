"""The program `asyncbackups`. It uses only public names of the package, and needs the extra `cli` (click and rich)."""

"""`python -m semtok`: the same as the command `semtok`."""

from __future__ import annotations

from semtok.cli import main

if __name__ == "__main__":
    main()

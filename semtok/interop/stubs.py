"""What a pickle says about objects, kept as plain data, and the arrays among it."""

from __future__ import annotations

import re
from collections.abc import Buffer
from dataclasses import dataclass

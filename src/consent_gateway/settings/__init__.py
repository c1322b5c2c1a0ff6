"""Settings: one frozen, typed object, read once from the environment by the composition root.

Every field has a unit in its name or type, a safe default, and a sentence on what an attacker who controls it
gains; `docs/settings.md` is generated from these classes. No module reads the environment at import. Invariants:

- an unknown `CONSENT_GATEWAY_*` variable refuses the start (a misspelt safety switch must not be ignored);
- secrets come from files, never from variables, and no message or `repr` shows a value;
- dangerous switches refuse to be on where `environment` is `production` (OWASP ASVS 5.0 V13.4.2).

One module a concern: `process`, `store`, `keys`, `log`, `law`, `quotas`. Each is a part of the one object, with what
can be said of its own fields alone; `model` joins them, and says what must hold between them. `variables` is how fields
are called in the environment, `values` how what stands there is read.
"""

from __future__ import annotations

from consent_gateway.settings.model import CONCERNS, Settings
from consent_gateway.settings.variables import CLIENT_PREFIX, PREFIX, TEST_PREFIX, variable

__all__ = ["CLIENT_PREFIX", "CONCERNS", "PREFIX", "TEST_PREFIX", "Settings", "variable"]

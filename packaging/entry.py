"""Start of the packaged application: the same command line as ``python -m app``, and the supervisor of a session.

The supervisor is asked for as ``callboard --supervise FOLDER`` (see ``app/agent/session.py``): there is no Python to run
it as a script, and the command line would take longer to import than a desktop to start.
"""

from __future__ import annotations

import sys

SUPERVISE = "--supervise"

if __name__ == "__main__":
    if sys.argv[1:2] == [SUPERVISE] and len(sys.argv) == 3:
        from app.agent.supervisor import main as supervise

        sys.exit(supervise(sys.argv[2]))
    from app.cli import main

    sys.exit(main())

"""The backend: settings, then tables, then use-cases, then HTTP and tasks.

Imports point one way only: settings → db, models → services → api | tasks. `app.video` is a library
that knows none of them. This module stays empty of imports because the container's healthcheck
(`python3 -m app.healthcheck`) passes through it every few seconds.
"""

__version__ = "0.1.0"

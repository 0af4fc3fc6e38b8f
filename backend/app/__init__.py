"""The backend: settings, then tables, then use cases, then HTTP and workers.

Imports point one way only: settings → db, models → services → worker → api. `app.video` is a
library that depends on none of them, only on `app.sandbox`. Keep this module free of imports: the
container's healthcheck (`python3 -m app.healthcheck`) loads it every few seconds, and each start of
a decoder does.
"""

__version__ = "0.1.0"

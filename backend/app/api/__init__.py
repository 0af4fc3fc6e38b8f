"""HTTP: routers parse, call one service, shape the reply. No queries and no rules live here."""

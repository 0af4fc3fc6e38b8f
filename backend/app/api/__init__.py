"""HTTP: routers parse, call one service and build the response. No queries, no business rules."""

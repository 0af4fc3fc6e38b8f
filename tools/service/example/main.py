"""A service that says hello."""

from fastapi import FastAPI

app = FastAPI(title="hello")


@app.get("/health")
def health() -> dict[str, str]:
    """Answer the healthcheck."""
    return {"status": "ok"}


@app.get("/")
def hello(name: str = "world") -> dict[str, str]:
    """Greet somebody."""
    return {"hello": name}

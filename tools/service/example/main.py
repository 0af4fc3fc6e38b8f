"""A service that says hello; `python3 main.py` asks a running one for its health."""

import urllib.request

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


if __name__ == "__main__":
    urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=5)

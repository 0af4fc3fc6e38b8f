"""Tables. Importing this module registers all of them on `Base.metadata`."""

from app.models.analysis import Analysis, AnalysisStatus
from app.models.base import Base
from app.models.video import Video

__all__ = ["Analysis", "AnalysisStatus", "Base", "Video"]

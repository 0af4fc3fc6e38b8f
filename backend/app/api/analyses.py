"""`/api/v1/analyses`: read one."""

import uuid

from fastapi import APIRouter

from app.api.context import InContext
from app.api.shapes import AnalysisOut
from app.services import analyses

router = APIRouter(prefix="/api/v1/analyses", tags=["analyses"])


@router.get("/{analysis_id}")
def read_analysis(context: InContext, analysis_id: uuid.UUID) -> AnalysisOut:
    """Tell where an analysis stands, with its result once it is done."""
    with context.database.reading() as session:
        return AnalysisOut.of(analyses.get(session, analysis_id=analysis_id))

"""Database tables. Importing this package registers all of them on `Base.metadata`."""

from app.models.analysis import FINAL, Analysis, AnalysisStatus
from app.models.api_key import ApiKey
from app.models.base import Base
from app.models.browser_session import BrowserSession
from app.models.caption import CaptionJob, CaptionStatus
from app.models.event import MotionEvent
from app.models.retention import RetentionState
from app.models.sign_in_attempt import SignInAttempt
from app.models.video import Video
from app.models.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookStatus

__all__ = [
    "FINAL",
    "Analysis",
    "AnalysisStatus",
    "ApiKey",
    "Base",
    "BrowserSession",
    "CaptionJob",
    "CaptionStatus",
    "DeliveryStatus",
    "MotionEvent",
    "RetentionState",
    "SignInAttempt",
    "Video",
    "Webhook",
    "WebhookDelivery",
    "WebhookStatus",
]

"""The query service: answers the queries of `registry/queries.py` from the database, as a NATS micro service."""

from publisher.query_service.answers import ANSWERS
from publisher.query_service.service import OUTAGE_SECONDS, QueryService

__all__ = ["ANSWERS", "OUTAGE_SECONDS", "QueryService"]

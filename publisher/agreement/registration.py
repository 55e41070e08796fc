"""The id of a project that is registered now: agreed on before it is there, where the settings name a bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from publisher.agreement.bucket import connect_bucket
from publisher.agreement.standing import Standing
from publisher.settings import Settings
from registry.errors import Unavailable
from registry.log import log
from registry.origin import derived_project_id, normalized_origin


async def agreed_id(settings: Settings, remote_origin: str, *, is_derived: bool, name: str) -> UUID | None:
    """The id under which all registries have, or will have, a project that this one has not; None: nobody is asked.

    Nobody is asked without the setting `agreement_nats_url`, nor about an origin that is none. Raises `Unavailable`
    where there is no quorum, unless the setting `agreement_without_quorum` says to derive the id, which then wins.
    """
    derived = derived_project_id(remote_origin)
    if not settings.agreement_nats_url or derived is None:
        return None
    mine = Standing.of(remote_origin, derived if is_derived else uuid4(), datetime.now(UTC))
    try:
        async with connect_bucket(settings, name, reconnect=False) as bucket:
            return (await bucket.agree(remote_origin, mine, is_new=True)).project_id
    except Unavailable as error:
        if settings.agreement_without_quorum == "derive":
            log.warning("nobody to agree with: the id is derived from the origin", reason=str(error))
            return derived
        raise Unavailable(
            f"cannot register {normalized_origin(remote_origin)}: no quorum to agree on its id: {error}; "
            "IMI_AGREEMENT_WITHOUT_QUORUM=derive registers it under the id that follows from its origin"
        ) from error

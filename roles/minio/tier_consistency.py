"""Checks that the rules of buckets name tiers that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roles.settings.faults import Faults
from roles.settings.field_checks import known

if TYPE_CHECKING:
    from roles.settings.model import Settings


def inconsistencies(settings: Settings) -> Faults:
    tiers = [tier.name for tier in settings.minio.tiers] if settings.minio else []
    for at, bucket in enumerate(settings.buckets):
        for number, rule in enumerate(bucket.lifecycle):
            if rule.tier and rule.tier not in tiers:
                why = "MinIO refuses it, and with it all rules of the bucket" if not tiers else "MinIO would refuse it"
                yield (
                    ("buckets", at, "lifecycle", number, "tier"),
                    f"minio.tiers has no {known(rule.tier, tiers)}; {why}",
                )

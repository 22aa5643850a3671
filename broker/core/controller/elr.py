"""What eligible leader replicas (KIP-966) ask of `min.insync.replicas`: one value for all brokers, known to all.

Who is eligible is decided by the controller with the value that it sees, so no broker may go by another: with ELR on,
a value for all brokers is there from the beginning, can be changed and not removed, and none is for a broker alone.
Who was eligible by another value is so no more: with a lower one, records may count that it lacks.
Kafka: ConfigurationControlManager, ClearElrRecord.
"""

from __future__ import annotations

import msgspec

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.metadata.records import ConfigSet, PartitionState
from broker.core.topic_settings import DEFAULTS

MIN_ISR = "min.insync.replicas"


def safe(config: BrokerConfig, image: Image) -> list[ConfigSet]:
    """Return the records that must be there before ELR is."""
    if not config.one_min_isr:
        return []
    records = [
        ConfigSet("broker", name, MIN_ISR, None)
        for name in (resource.removeprefix("broker:") for resource in image.configs if resource.startswith("broker:"))
        if name and MIN_ISR in image.config("broker", name)
    ]
    if MIN_ISR not in image.config("broker", ""):
        records.append(ConfigSet("broker", "", MIN_ISR, config.properties.get(MIN_ISR, DEFAULTS[MIN_ISR])))
    return records


def check(config: BrokerConfig, image: Image, broker: str, name: str, *, is_removed: bool) -> None:
    """Raise Refused(INVALID_CONFIG) where ELR forbids the change of a broker's setting (broker: "" for all)."""
    if name != MIN_ISR or not image.has_elr or not config.one_min_isr:
        return
    if broker:
        raise Refused(Code.INVALID_CONFIG, f"Broker-level {MIN_ISR} cannot be altered while ELR is enabled.")
    if is_removed:
        raise Refused(Code.INVALID_CONFIG, f"Cluster-level {MIN_ISR} cannot be removed while ELR is enabled.")


def cleared(image: Image, record: ConfigSet) -> list[PartitionState]:
    """Return the partitions that the change of a setting leaves without eligible replicas outside of their ISRs.

    Where the ISR is empty they stay: nothing can count until one of them leads, and then the rules look at the new
    value. Without them the last leader alone could lead, even after a power loss.
    """
    if record.key != MIN_ISR or record.kind not in {"topic", "broker"}:
        return []
    return [
        msgspec.structs.replace(state, elr=(), partition_epoch=state.partition_epoch + 1)
        for state in image.partitions()
        if state.elr and state.isr and (record.kind == "broker" or image.topics[state.topic_id].name == record.name)
    ]

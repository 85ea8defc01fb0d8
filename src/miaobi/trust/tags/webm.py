"""WebM and Matroska by PyAV: a `SimpleTag` of the segment. Packets are copied as they are into a new container, since tags stand first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from miaobi.trust.stored import Data
from miaobi.trust.streams import opened
from miaobi.trust.tags import NAMES


def read(data: Data) -> Mapping[str, Sequence[str]]:
    """The texts of the two names."""
    with opened(data) as container:
        return {name: [text] for name in NAMES for key, text in container.metadata.items() if key.upper() == name.upper()}


def write(data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
    """The same packets in a container with the texts."""
    with opened(data) as source:
        import av

        with av.open(target, "w", format="webm", container_options={"fflags": "+bitexact"}) as made:
            gone = {"ENCODER", *(name.upper() for name in texts)}  # Matroska's muxer writes names in capitals
            made.metadata.update({name: text for name, text in source.metadata.items() if name.upper() not in gone} | dict(texts))
            streams = {stream.index: made.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    made.mux(packet)

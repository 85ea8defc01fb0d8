"""WebM and Matroska by PyAV: a `SimpleTag` of the segment. Packets are copied as they are into a new container, since tags stand first."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from miaobi.trust.streams import opened
from miaobi.trust.tags import NAMES


def read(data: bytes) -> Mapping[str, Sequence[str]]:
    """The texts of the two names."""
    with opened(data) as container:
        return {name: [text] for name in NAMES for key, text in container.metadata.items() if key.upper() == name.upper()}


def write(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The same packets in a container with the texts."""
    buffer = io.BytesIO()
    with opened(data) as source:
        import av

        with av.open(buffer, "w", format="webm", container_options={"fflags": "+bitexact"}) as target:
            gone = {"ENCODER", *(name.upper() for name in texts)}  # Matroska's muxer writes names in capitals
            target.metadata.update({name: text for name, text in source.metadata.items() if name.upper() not in gone} | dict(texts))
            streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
    return buffer.getvalue()

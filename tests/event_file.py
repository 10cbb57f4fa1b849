"""An independent reader of TensorBoard's event files, to check the writer with."""

import struct


def records(path):
    """The bodies in a file of TensorBoard; lengths and checksums are right."""
    body, found = path.read_bytes(), []
    while body:
        (length,) = struct.unpack("<Q", body[:8])
        for start, end in ((0, 8), (12, 12 + length)):
            (checksum,) = struct.unpack("<I", body[end : end + 4])
            crc = bitwise_crc32c(body[start:end])
            assert checksum == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        found.append(body[12 : 12 + length])
        body = body[16 + length :]
    return found


def bitwise_crc32c(body):
    """Castagnoli's polynomial, one bit at a time."""
    crc = 2**32 - 1
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc // 2 ^ 0x82F63B78 * (crc % 2)
    return crc ^ 2**32 - 1


def decoded(body):
    """A message of protocol buffers as (field, value) pairs."""
    found = []
    while body:
        key, body = varint(body)
        field, kind = divmod(key, 8)
        if kind == 0:
            value, body = varint(body)
        else:
            size, body = varint(body) if kind == 2 else ({1: 8, 5: 4}[kind], body)
            value, body = body[:size], body[size:]
        found.append((field, value))
    return found


def varint(body):
    for i, byte in enumerate(body):
        if byte < 128:
            return sum((b % 128) << 7 * k for k, b in enumerate(body[: i + 1])), body[i + 1 :]
    raise AssertionError("no end")


def scalars(body):
    """(step, {tag: value}) of an Event."""
    fields = dict(decoded(body))
    values = (dict(decoded(value)) for _, value in decoded(fields[5]))
    return fields[2], {v[1].decode(): struct.unpack("<f", v[2])[0] for v in values}

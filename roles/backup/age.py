"""A new age identity, without age: 32 random bytes in Bech32 (BIP 173), as age's format says (C2SP, age: X25519)."""

from __future__ import annotations

import secrets

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
PREFIX = "age-secret-key-"


def identity() -> str:
    """One line such as `age-keygen` writes, drawn from the system's randomness."""
    return encoded(secrets.token_bytes(32))


def encoded(data: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    text = "".join(LETTERS[value] for value in values + _checksum(values))
    return f"{PREFIX}1{text}".upper()


def _checksum(values: list[int]) -> list[int]:
    checksum = 1
    for value in [
        *(ord(letter) >> 5 for letter in PREFIX),
        0,
        *(ord(letter) & 31 for letter in PREFIX),
        *values,
        *[0] * 6,
    ]:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for at, factor in enumerate(GENERATOR):
            checksum ^= factor if top >> at & 1 else 0
    checksum ^= 1
    return [checksum >> 5 * (5 - at) & 31 for at in range(6)]

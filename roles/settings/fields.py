"""The kinds of values that settings take. A value that some program may not take literally is refused here."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

from converge.inventory.secret import Secret
from roles.settings import field_checks as checks

UNREAD = Secret("a secret that has not been read")


class Section(BaseModel):
    """A part of the settings: an unknown key is an error, and nothing changes once it is read."""

    # Only the model of all settings validates: the validator of a part is built when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, strict=True, defer_build=True)


def matches(pattern: str, reason: str) -> AfterValidator:
    """The whole text must match; otherwise `reason` is the message."""

    # Compiled when there is a value to check: most hosts use few of the settings.
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(reason)
        return value

    return AfterValidator(check)


def text_or_mapping(expected: str) -> Discriminator:
    """Tells a union's text (`Tag("text")`) from its mapping (`Tag("mapping")`); for anything else, `expected` is the message."""

    def tag(value: Any) -> str | None:
        if isinstance(value, str):
            return "text"
        return "mapping" if isinstance(value, (dict, BaseModel)) else None

    return Discriminator(tag, custom_error_type="text_or_mapping", custom_error_message=expected)


def _secret(value: Any) -> Any:
    """A reference stands for its secret until the inventory has read it; anything else is refused, without being shown."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {"env", "file", "command"}:
        (text,) = value.values()
        if isinstance(text, str) and text.isprintable() and text:
            return UNREAD
    raise ValueError(
        "a secret never stands in the inventory: give a reference, {env: NAME}, {file: PATH} or {command: TEXT}"
    )


def within(low: str, high: str) -> AfterValidator:
    """A size from one to another, both included."""

    def check(value: str) -> str:
        if not size_in_bytes(low) <= size_in_bytes(value) <= size_in_bytes(high):
            raise ValueError(f"a size from {low} to {high}")
        return value

    return AfterValidator(check)


def _free(value: str) -> str:
    if value in ("minio", "stowage-proof", "stowage-canary"):
        raise ValueError("MinIO, or a proof of Stowage's, has a bucket of this name")
    return value


SecretValue = Annotated[Secret, BeforeValidator(_secret)]
Name = Annotated[
    str, matches(r"[a-z][a-z0-9_-]{0,30}", "a name has at most 31 of a-z, 0-9, - and _, and begins with a letter")
]
DataUserName = Annotated[Name, AfterValidator(checks.free_user)]
NetworkName = Annotated[Name, AfterValidator(checks.free_network)]
Package = Annotated[
    str,
    matches(
        r"[a-z0-9][a-z0-9+.-]{0,126}[a-z0-9+]",  # apt takes `name-` for an order to remove name
        "a package name has a-z, 0-9, +, . and -, begins with a letter or digit, and does not end with . or -",
    ),
]
PythonPackage = Annotated[
    str,
    matches(
        r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9._+!-]{0,62}",
        "a package of PyPI with its version, such as mlflow==3.17.2",
    ),
]
Label = Annotated[
    str,
    matches(
        r"[A-Za-z0-9_][A-Za-z0-9_-]{0,11}",
        "an XFS label has at most 12 of A-Z, a-z, 0-9, - and _, and does not begin with -",
    ),
]
AbsolutePath = Annotated[
    str,
    matches(r"(/[A-Za-z0-9_.+@:=,#-]+)+", "an absolute path of A-Z, a-z, 0-9 and _.+@:=,#- without a slash at the end"),
    AfterValidator(checks.no_dots),
]
HostFolder = Annotated[
    str,
    matches(
        r"/|(/[A-Za-z0-9_.+@:=,#-]+)+",
        "a folder of the host: / or a path of A-Z, a-z, 0-9 and _.+@:=,#- without a slash at the end",
    ),
    AfterValidator(lambda value: value if value == "/" else checks.no_dots(value)),
]
MountPath = Annotated[
    str,
    matches(r"(/[A-Za-z0-9_.+@-]+)+", "an absolute path of A-Z, a-z, 0-9 and _.+@- without a slash at the end"),
    matches(r".{1,150}", "a path of at most 150 letters"),
    AfterValidator(checks.no_dots),
    AfterValidator(checks.mountable),
]
OwnFolder = Annotated[
    AbsolutePath, matches(r".{1,150}", "a path of at most 150 letters"), AfterValidator(checks.mountable)
]
Device = Annotated[
    AbsolutePath, matches(r"/dev/.+", "a device is a path beneath /dev"), AfterValidator(checks.whole_disk)
]
Options = Annotated[
    str,
    matches(
        r"[A-Za-z0-9_][\w=:./@%+-]*(,[A-Za-z0-9_][\w=:./@%+-]*)*",
        "options are words with commas and no blanks, such as defaults,noatime",
    ),
    AfterValidator(checks.options),
]
Line = Annotated[
    str, matches(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*", "one line of text, without control characters")
]
LocalFile = Annotated[Line, matches(r"[^-].*", "the path of a file on this machine; it does not begin with -")]
Url = Annotated[
    str,
    matches(r"(https?|file)://[A-Za-z0-9._~:/@%+-]+", "an address such as https://download.docker.com/linux/debian"),
]
WebUrl = Annotated[
    str,
    matches(
        r"https?://([A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~:/@%+=-]*)?",
        "an address such as https://s3.example.org",
    ),
    AfterValidator(checks.web),
]
Origin = Annotated[
    WebUrl,
    matches(r"[^/]+//[^/]+", "an address without a path or a slash at its end, such as https://storage.example.org"),
]
EmailAddress = Annotated[
    str,
    matches(
        r"[A-Za-z0-9._%+][A-Za-z0-9._%+-]{0,63}@([a-z0-9-]{1,63}\.)+[a-z]{2,63}",
        "an address such as storage@example.org",
    ),
]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
Command = list[Line]
"""The words of a command, as they are: no shell reads them."""
Variable = Annotated[
    str, matches(r"[A-Za-z_][A-Za-z0-9_.]{0,127}", "a variable has A-Z, a-z, 0-9, _ and ., and begins with no digit")
]
PortAndPath = Annotated[
    Line,
    matches(r":[0-9]{1,5}/[A-Za-z0-9._~/%=+?&-]*", "a port of the container and a path, such as :3000/health"),
    AfterValidator(lambda value: checks.web(f"http://x{value}")[8:]),
]
InsidePath = Annotated[
    str,
    matches(r"(/[A-Za-z0-9_.+@-]+)+", "a path in the container of A-Z, a-z, 0-9 and _.+@- without a slash at the end"),
    AfterValidator(checks.no_dots),
    AfterValidator(checks.bindable),
]
RelativePath = Annotated[
    str,
    matches(
        r"[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*(/[A-Za-z0-9_.+@-]+)*", "the path of a file in the folder, such as nginx.conf"
    ),
    AfterValidator(lambda value: checks.no_dots(f"/{value}")[1:]),
]
Capability = Annotated[str, matches(r"[A-Z][A-Z_]{2,30}", "a capability such as NET_BIND_SERVICE")]
HostName = Annotated[str, AfterValidator(checks.host_name)]
RoutePath = Annotated[
    str,
    matches(r"(/[A-Za-z0-9_.+@-]+)+", "a path of A-Z, a-z, 0-9 and _.+@- without a slash at the end, such as /grafana"),
    matches(r".{1,150}", "a path of at most 150 letters"),
    AfterValidator(checks.no_dots),
]
RouteTarget = Annotated[
    str,
    matches(
        r"minio-api|minio-console|s3-elsewhere|[a-z][a-z0-9_-]{0,30}:[0-9]{1,5}",
        "a service and its port, such as grafana:3000; minio-api, minio-console; s3-elsewhere; https:443",
    ),
    AfterValidator(checks.leads_to_port),
]
CodeName = Annotated[str, matches(r"[a-z][a-z0-9/-]{0,63}", "a code name such as trixie")]
KernelSetting = Annotated[
    str, matches(r"[a-z][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)+", "a kernel setting such as vm.swappiness")
]
Address = Annotated[str, AfterValidator(checks.address)]
ListenAddress = Annotated[Address, AfterValidator(checks.listening)]
Subnet = Annotated[str, AfterValidator(checks.subnet)]
BucketName = Annotated[
    str,
    matches(
        r"(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)(?!.*(\.[.-]|-\.|-s3alias$|--ol-s3$))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a bucket name has 3 to 63 of a-z, 0-9, . and -, begins and ends with a letter or digit, and is no IP address",
    ),
    AfterValidator(_free),
]
DatabaseName = Annotated[
    str,
    matches(
        r"[A-Za-z_][A-Za-z0-9_.-]{0,62}",
        "a name in PostgreSQL has at most 63 of A-Z, a-z, 0-9, _, . and -, and begins with a letter or _",
    ),
]
ExtensionName = Annotated[str, matches(r"[a-z_][a-z0-9_-]{0,62}", "the name of an extension, such as postgis")]
ServerSetting = Annotated[
    str, matches(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", "a setting of PostgreSQL such as max_connections")
]
Encoding = Annotated[str, matches(r"[A-Z][A-Z0-9_]+", "an encoding such as UTF8")]
Locale = Annotated[str, matches(r"[A-Za-z][A-Za-z0-9_.@-]*", "a locale such as C.UTF-8")]
Size = Annotated[
    str,
    BeforeValidator(checks.with_unit),
    matches(r"[1-9][0-9]{0,9}(B|KiB|MiB|GiB|TiB|PiB)", "a size such as 500GiB or 2TiB"),
]
ImageReference = Annotated[
    str,
    matches(
        r"[a-z0-9][a-z0-9._-]*(:[0-9]+(?=/))?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})",
        "an image with its version, such as docker.io/library/nginx:1.30 or one with @sha256:...",
    ),
]
Checksum = Annotated[str, matches(r"[0-9a-f]{64}", "a SHA-256, which has 64 of 0-9 and a-f")]
Prefix = Annotated[
    Line, matches(r"(?!/).{0,1024}", "a prefix of at most 1024 letters; names of objects do not begin with /")
]
TierName = Annotated[
    str,
    matches(
        r"(?!(STANDARD|REDUCED_REDUNDANCY)$)[A-Z][A-Z0-9_-]{0,63}",
        "a tier is named in A-Z, 0-9, - and _, begins with a letter, and is not one of the classes that MinIO has by itself",
    ),
]
MinioVariable = Annotated[str, matches(r"MINIO_[A-Z0-9_]+", "a name that starts with MINIO_")]
PolicyName = Annotated[
    str,
    matches(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}",
        "a policy name has letters, digits, _ . and -, and begins with a letter or digit",
    ),
]
UserName = Annotated[
    str, matches(r"[A-Za-z0-9][A-Za-z0-9._@-]{2,63}", "a user name has 3 to 64 letters, digits, . _ @ and -")
]
Mail = Annotated[
    str,
    matches(
        r"(?!-)(?=.{1,64}@.{1,190}$)[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
        "an address such as anne@example.org",
    ),
]
PersonName = Annotated[
    Line,
    matches(
        r"(?=\S)[^<>&\"$%!#?§;*~/\\|^=\[\]{}()]{1,255}(?<=\S)",
        'a name of a person has at most 255 letters, none of < > & " $ % ! # ? § ; * ~ / \\ | ^ = [ ] { } ( ), and no space at its ends',
    ),
]
GroupName = Annotated[
    str,
    matches(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}",
        "a group name has letters, digits, _ . and -, and begins with a letter or digit",
    ),
]
AccessKey = Annotated[
    str,
    matches(
        r"[A-Za-z0-9_][A-Za-z0-9_-]{2,19}",
        "an access key has 3 to 20 letters, digits, - and _, and does not begin with -",
    ),
]
Expiry = Annotated[
    str,
    matches(
        r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z)?", "a day such as 2027-12-31, or a moment such as 2027-12-31T18:00Z"
    ),
    AfterValidator(checks.there_is_such_a_day),
]


def size_in_bytes(size: str) -> int:
    """The number of bytes of a size such as `500GiB`."""
    number = size.rstrip("BKMGTPi")
    return int(number) << 10 * ("B", "KiB", "MiB", "GiB", "TiB", "PiB").index(size.removeprefix(number))

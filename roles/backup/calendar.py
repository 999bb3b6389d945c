"""Calendar events as systemd reads them (`OnCalendar=`): whether a text is valid, and whether the event ever occurs."""

from __future__ import annotations

import datetime
import re

from converge.record import dataclass

EVERY = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARTS = {
    "year": (1970, 2200),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
DATE = re.compile(r"(?:(?:(?P<year>[^-~]+)-)?(?P<month>[^-~]+)(?P<last>[-~]))?(?P<day>[^-~]+)")
RANGE = re.compile(r"(?P<first>\d{1,4})(?:\.\.(?P<end>\d{1,4}))?(?:/(?P<step>\d{1,4}))?")
LIKE = "a calendar event of systemd such as *-*-* 02:00:00 (systemd-analyze calendar)"


class NoEvent(ValueError):
    """Why a text is no calendar event."""


@dataclass(frozen=True)
class Event:
    """An event: the numbers that each part may have, and the days of the week (Monday is 0)."""

    weekdays: frozenset[int]
    numbers: dict[str, frozenset[int]]
    from_the_end: bool

    def next_day(self, today: datetime.date) -> datetime.date | None:
        """The first day, from today on, on which it occurs, if any."""
        last = max(self.numbers["year"])
        day = max(today, datetime.date(min(self.numbers["year"]), 1, 1))
        while day.year <= last:
            if self._comes(day):
                return day
            day += datetime.timedelta(days=1)
        return None

    def _comes(self, day: datetime.date) -> bool:
        following = datetime.date(day.year + day.month // 12, day.month % 12 + 1, 1)
        number = (following - day).days if self.from_the_end else day.day
        parts = {"year": day.year, "month": day.month, "day": number}
        return day.weekday() in self.weekdays and all(value in self.numbers[part] for part, value in parts.items())


def event(text: str) -> Event:
    """The event of a text; raises NoEvent with the reason."""
    parts = text.split()
    if len(parts) > 1 and re.fullmatch(r"[A-Z][A-Za-z0-9_+/-]*", parts[-1]):
        _known_zone(parts.pop())
    if len(parts) == 1 and parts[0].lower() in EVERY:
        parts = EVERY[parts[0].lower()].split()
    weekdays = _weekdays(parts.pop(0)) if parts and parts[0][:1].isalpha() else frozenset(range(7))
    time = parts.pop() if parts and ":" in parts[-1] else None
    date = parts.pop() if parts else None
    if parts or (date is None and time is None and weekdays == frozenset(range(7))):
        raise NoEvent(LIKE)
    numbers, from_the_end = _date(date or "*-*-*")
    return Event(weekdays, numbers | _time(time or "00:00:00"), from_the_end)


def _known_zone(name: str) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if available_timezones():  # a machine may have no time zones at all
            raise NoEvent(f"there is no time zone {name}") from None


def _weekdays(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.rstrip(",").split(","):
        ends = [_weekday(end) for end in re.split(r"\.\.|-", part)]
        if len(ends) > 2 or ends[0] > ends[-1]:
            raise NoEvent(f"{part} is no range of days: Mon..Fri")
        days |= set(range(ends[0], ends[-1] + 1))
    return frozenset(days)


def _weekday(text: str) -> int:
    for number, name in enumerate(DAYS):
        if text.lower() in (name, name[:3]):
            return number
    raise NoEvent(f"{text} is no day of the week: Mon, Tue, Wed, Thu, Fri, Sat, Sun")


def _date(text: str) -> tuple[dict[str, frozenset[int]], bool]:
    match = DATE.fullmatch(text)
    if not match or match["month"] is None:
        raise NoEvent(f"{text} is no date: *-*-*, *-*-01 or 2030-01-31")
    years, months = _numbers("year", match["year"] or "*"), _numbers("month", match["month"])
    from_the_end = match["last"] == "~"
    if from_the_end and "/" in match["day"]:
        raise NoEvent(f"{text} is no date: with ~ a day has no step")
    return {"year": years, "month": months, "day": _numbers("day", match["day"], from_the_end)}, from_the_end


def _time(text: str) -> dict[str, frozenset[int]]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise NoEvent(f"{text} is no time: 02:00 or 02:00:00")
    hours, minutes, seconds = (*parts, "00")[:3]
    seconds = re.sub(r"(\d)\.\d{1,6}(?!\.)", r"\1", seconds)
    numbers = {"hour": _numbers("hour", hours), "minute": _numbers("minute", minutes)}
    return numbers | {"second": _numbers("second", seconds)}


def _numbers(part: str, text: str, from_the_end: bool = False) -> frozenset[int]:
    """The numbers of a part: `*`, `1`, `1,15`, `1..5`, `0/6`."""
    low, high = PARTS[part] if not from_the_end else (1, 28)
    numbers: set[int] = set()
    for item in text.split(","):
        match = RANGE.fullmatch(f"{low}..{high}" if item == "*" else item)
        if not match:
            raise NoEvent(f"{item or 'nothing'} is no {part}: a number, 1..5, 0/6 (not */6), a list with commas or *")
        first, step = int(match["first"]), int(match["step"] or 1)
        end = int(match["end"]) if match["end"] else high if match["step"] else first
        if part == "year" and first < 100:
            first += 2000 if first < 70 else 1900
            end = max(end, first) if match["end"] or match["step"] else first
        if not (low <= first <= high and low <= end <= high):
            raise NoEvent(f"{item} is no {part}: it is {low} to {high}")
        if end < first or step == 0 or (match["step"] and step > high - first):
            raise NoEvent(f"{item} is no {part}: it ends before it begins, or its step leads nowhere")
        numbers |= set(range(first, end + 1, step))
    return frozenset(numbers)


def checked(text: str) -> str:
    """A schedule for work of minutes: an event that repeats, at most once a minute."""
    schedule = event(text)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    if schedule.next_day(today + datetime.timedelta(days=1)) is None:
        raise NoEvent("it never comes again")
    if len(schedule.numbers["second"]) > 1:
        raise NoEvent("it comes several times a minute")
    return text

"""Everyone inside a segment, grouped into classes by one scan of the audience rows.

A class is packed into the regions and one integer, so that a scan yields three small columns. It is the SQL twin of the
quantisation in `audience_rows.read_people`; a differential test holds the two together. PostgreSQL hashes the groups
itself; SQLite would sort every row to group them, so there the rows are grouped here, which takes half the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, literal, literal_column, select, true

from consent_gateway.db.audience_rows import DAY, Reading, cap_columns
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import audience_rows
from consent_gateway.domain.audiences import (
    AGE_BANDS,
    CAPPED,
    COVERED,
    OUTDATED_NOTICE,
    THREE_IN_24H,
    UNKNOWN_AGE,
    ClassKey,
    latest_birth_month,
)
from consent_gateway.domain.circumstances import (
    CONFIRM_SECONDS,
    DUE,
    LATE,
    NONE,
    OLDER,
    OLDEST,
    RECENCY_COLUMNS,
    RECENT,
    REFUSAL_SHIFT,
    SENT,
    Recency,
    months_ago,
)
from consent_gateway.domain.consents import WITHDRAWN
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.scopes import NAMED_AFTER_NO, OUTDATED, OWN_AFTER_NO, PROPERTY_BITS, PROPERTY_MASK
from consent_gateway.domain.subjects import FLAG_BITS, month_of

_c = audience_rows.c
_AGES = (UNKNOWN_AGE, *AGE_BANDS)
_LOWEST_CODE = -3  # consent codes run from -3 (pending) to 2 (expired)
# Widths in bits, from the highest part to the lowest: age, consent, caps, flags, properties with what stands beside.
_CONSENT, _CAPS, _FLAGS, _PROPERTIES = 3, 2, FLAG_BITS, 9
_POINT_FACTS, _RECENCY = 6, 4
_FETCH = 10_000
EVERYONE = true()  # the segment of all people


def classes(
    session: Session, reading: Reading, segment: ColumnElement[bool], now: int
) -> Iterator[tuple[ClassKey, list[SubjectId]]]:
    """Yield each class inside `segment` (a condition on the audience rows) with its members."""
    key, ids = _key(reading, segment, now), _c.subject_id
    found = _grouped_here(session, key) if _is_sqlite(session) else _grouped_there(session, key, func.array_agg(ids))
    for regions, packed, members in found:
        yield _unpacked(regions, packed), members


def class_sizes(
    session: Session, reading: Reading, segment: ColumnElement[bool], now: int
) -> Iterator[tuple[ClassKey, int]]:
    """Yield each class inside `segment` with the number of its people: `classes` where nobody need be named."""
    key = _key(reading, segment, now)
    found = _counted_here(session, key) if _is_sqlite(session) else _grouped_there(session, key, func.count())
    for regions, packed, people in found:
        yield _unpacked(regions, packed), people


def _key(reading: Reading, segment: ColumnElement[bool], now: int) -> Select[Any]:
    return select(_c.regions, _packed(reading, now).label("packed")).where(segment)


def _is_sqlite(session: Session) -> bool:
    return session.dialect.name == "sqlite"


def _grouped_there(session: Session, key: Select[Any], each: ColumnElement[Any]) -> Iterator[tuple[str, int, Any]]:
    """Yield every class with `each` computed over it."""
    # By position: the expression need not be sent and computed a second time.
    statement = key.add_columns(each).group_by(literal_column("1"), literal_column("2"))
    yield from (tuple(row) for row in session.execute(statement))


def _grouped_here(session: Session, key: Select[Any]) -> Iterator[tuple[str, int, list[SubjectId]]]:
    groups: dict[tuple[str, int], list[SubjectId]] = {}
    for rows in _fetched(session, key.add_columns(_c.subject_id)):
        _sort_into(groups, rows)
    for (regions, packed), ids in groups.items():
        yield regions, packed, ids


def _counted_here(session: Session, key: Select[Any]) -> Iterator[tuple[str, int, int]]:
    sizes: Counter[tuple[str, int]] = Counter()
    for rows in _fetched(session, key):
        sizes.update(rows)
    for (regions, packed), people in sizes.items():
        yield regions, packed, people


def _fetched(session: Session, statement: Select[Any]) -> Iterator[Sequence[Any]]:
    # The driver's own cursor: there is one row for each person, and each costs what the layers above add.
    result = session.execute(statement)
    while rows := result.cursor.fetchmany(_FETCH):
        yield rows
    result.close()


def _sort_into(groups: dict[tuple[str, int], list[SubjectId]], rows: Iterable[Any]) -> None:
    for regions, packed, subject_id in rows:
        members = groups.get((regions, packed))
        if members is None:
            groups[regions, packed] = [subject_id]
        else:
            members.append(subject_id)


def _packed(reading: Reading, now: int) -> ColumnElement[Any]:
    month = month_of(now)
    bands = [(_c.birth_month <= latest_birth_month(age, month), _AGES.index(age)) for age in reversed(AGE_BANDS)]
    age = case((_c.birth_month.is_(None), _AGES.index(UNKNOWN_AGE)), *bands, else_=_AGES.index(AGE_BANDS[0]))
    consent, properties = _consent(reading, now)
    caps: ColumnElement[Any] = literal(0)
    for name, window, bit in zip(cap_columns(reading), (reading.cap_window, DAY), (CAPPED, THREE_IN_24H), strict=False):
        caps = caps + case((_c[name] > now - window, bit), else_=0)
    packed = cast(age, BigInteger) * (1 << _CONSENT) + consent
    packed = packed * (1 << _CAPS) + caps
    packed = packed * (1 << _FLAGS) + _c.flags.op("&")(reading.flags)
    packed = packed * (1 << _PROPERTIES) + properties
    facts = _c[f"{reading.medium}_facts"].op("&")(reading.facts) if reading.facts else literal(0)
    return (packed * (1 << _POINT_FACTS) + facts) * (1 << _RECENCY) + _recency(reading, now)


def _recency(reading: Reading, now: int) -> ColumnElement[Any]:
    """Return `domain.circumstances.recency_code` in SQL."""
    if reading.recency is Recency.NOTHING:
        return literal(NONE)
    first, second = (_c[name] for name in RECENCY_COLUMNS[reading.recency])
    if reading.recency is Recency.ASKING:
        half, year = months_ago(now, 6), months_ago(now, 12)
        opted = case((first.is_(None), NONE), (first < year, OLDER), else_=RECENT)
        refused = case((second.is_(None), NONE), (second < year, OLDEST), (second < half, OLDER), else_=RECENT)
        return refused * (1 << REFUSAL_SHIFT) + opted
    return case((first.is_(None), NONE), (second >= first, SENT), (first >= now - CONFIRM_SECONDS, DUE), else_=LATE)


def _consent(reading: Reading, now: int) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return consent code and properties: `domain.scopes.read` in SQL."""
    if reading.slot is None:
        return literal(-_LOWEST_CODE), literal(0)
    own, named, scope = (_c[f"{letter}{reading.slot}"] for letter in "crp")
    until: ColumnElement[Any] = own
    held: ColumnElement[Any] = scope.op("&")(PROPERTY_MASK) + (COVERED if reading.side.bit is None else 0)
    after_no: ColumnElement[Any] = scope.op("&")(OWN_AFTER_NO) != 0
    if reading.side.yes:
        said_no = scope.op("&")(reading.side.no) != 0
        said_yes = scope.op("&")(reading.side.yes) != 0
        until = case((said_no, WITHDRAWN), (said_yes, named), else_=own)
        shared = scope.op("/")(1 << PROPERTY_BITS).op("&")(PROPERTY_MASK) + COVERED
        held = case((said_yes, shared), else_=held)
        after_no = case((said_yes, scope.op("&")(NAMED_AFTER_NO)), else_=scope.op("&")(OWN_AFTER_NO)) != 0
    held = held + case((scope.op("&")(OUTDATED) != 0, OUTDATED_NOTICE), else_=0)
    code = case((until <= 0, until), (until > now, 1), (after_no, WITHDRAWN), else_=2)
    return code - _LOWEST_CODE, case((until > now, held), else_=0)


def _unpacked(regions: str, packed: int) -> ClassKey:
    packed, recency = divmod(packed, 1 << _RECENCY)
    packed, facts = divmod(packed, 1 << _POINT_FACTS)
    packed, properties = divmod(packed, 1 << _PROPERTIES)
    packed, flags = divmod(packed, 1 << _FLAGS)
    packed, caps = divmod(packed, 1 << _CAPS)
    age, consent = divmod(packed, 1 << _CONSENT)
    return ClassKey(regions, _AGES[age], flags, consent + _LOWEST_CODE, properties, caps, facts, recency)

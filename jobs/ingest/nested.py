"""Read nested columns: fields by dotted paths, and lists whose elements become rows.

A path such as `user.id` names a column, then fields of its objects. Objects are structs, or JSON text in a cell; a
number is a position in a list; in a list of objects with a `key`, a name is the key of one of them
(`event_params.ga_session_id.value.int_value`).
"""

import re
from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from recsys.errors import SettingsError, SourceError
from recsys.settings import Table

LINE = "(line)"  # column: position of a row in the list that it comes from, from 1
KEY = "key"
# A text or a quoted name, or a path that is not part of a longer name.
PATH_IN_SQL = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w.])(?P<path>[^\W\d]\w*(?:\.\w+)+)""")
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_JSON = msgspec.json.Decoder(msgspec.Raw)


def explode_rows(rows: pl.DataFrame, table: Table) -> tuple[pl.DataFrame, int]:
    """Return a row for each element of the list in `table.explode`, and the number of rows without elements.

    The element is in a column that has the path as its name, its position in `LINE`. A JSON object in place of an
    array is one element; text that is no JSON is one element that is null, so that its row breaks a rule. Raises
    `SourceError` when there is no such column, unless missing ones are null, or when it holds neither lists nor
    text. Rows that have `LINE` are such elements already.
    """
    name = table.explode
    if name is None or LINE in rows.columns:
        return rows, 0
    setting = f"sources.tables.{table.name}.explode"
    if table.missing_columns == "null" and not _leads_to_values(name, rows.schema):
        return rows.clear().with_columns(pl.lit(None).alias(name), pl.lit(0).alias(LINE)), rows.height
    expression = path_expression(name, rows.schema, setting)
    if expression is None:
        raise SourceError(
            f"{setting} = {name!r}: there is no such column; the source has {', '.join(rows.columns)}"
        )
    lists = rows.select(expression.alias(name)).to_series()
    if lists.dtype == pl.Null:
        lists = lists.cast(pl.List(pl.Null))
    elif lists.dtype == pl.String:
        lists = _json_elements(lists, rows[_column(name, rows.schema) or name])
    elif isinstance(lists.dtype, pl.Array):
        lists = lists.arr.to_list()
    if not isinstance(lists.dtype, pl.List):
        raise SourceError(f"{setting} = {name!r}: expected lists, or JSON arrays as text, not {lists.dtype}")
    lengths = lists.list.len()
    full = rows.with_columns(lists, pl.lit(lengths).alias(LINE)).filter(pl.col(LINE) > 0)
    lines = full.with_columns(pl.int_ranges(1, pl.col(LINE) + 1).alias(LINE))
    return lines.explode(name, LINE), rows.height - full.height


def add_paths(rows: pl.DataFrame, texts: Iterable[str], setting: str) -> pl.DataFrame:
    """Return the rows with a column for each path in the texts, which are paths or SQL; the path is its name.

    Raises `SourceError` with the setting for a path whose column has no such field.
    """
    paths: dict[str, pl.Expr] = {}
    for text in texts:
        for path in [text] if _is_path(text, rows.schema) else _paths_in_sql(text):
            if path not in rows.columns and (expression := path_expression(path, rows.schema, setting)) is not None:
                paths[path] = expression.alias(path)
    return rows.with_columns(paths.values()) if paths else rows


def add_nulls(rows: pl.DataFrame, texts: Iterable[str]) -> pl.DataFrame:
    """Return the rows with a column of nulls for each column and path in the texts that the rows lack."""
    missing: dict[str, None] = {}
    for text in texts:
        if text in rows.columns:
            continue
        missing.update(dict.fromkeys(p for p in _paths_in_sql(text) if not _leads_to_values(p, rows.schema)))
        try:
            names = pl.sql_expr(quote_paths(text, [*rows.columns, *missing])).meta.root_names()
        except pl.exceptions.PolarsError:  # no SQL, which is an error of the mapping
            continue
        missing.update(dict.fromkeys(name for name in names if name not in rows.columns))
    return rows.with_columns(pl.lit(None).alias(name) for name in missing)


def storable_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in types that Parquet has: columns with objects without fields become JSON text."""
    texts = [
        pl.when(pl.col(name).is_not_null())
        .then(pl.struct(pl.col(name).alias("v")).struct.json_encode().str.json_path_match("$.v"))
        .alias(name)
        for name, dtype in rows.schema.items()
        if _has_empty_object(dtype)
    ]
    return rows.with_columns(texts)


def _has_empty_object(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        fields = _fields(dtype).values()
        return not fields or any(map(_has_empty_object, fields))
    if isinstance(dtype, pl.List | pl.Array):
        return _has_empty_object(dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner())
    return False


def quote_paths(sql: str, columns: Sequence[str]) -> str:
    """Return SQL in which every path that is the name of a column is quoted."""
    return PATH_IN_SQL.sub(lambda match: f'"{match[0]}"' if match["path"] in columns else match[0], sql)


def path_expression(path: str, schema: pl.Schema, setting: str) -> pl.Expr | None:
    """Return the expression of a path; None if it starts with no column.

    Raises `SourceError` with the setting for a field that does not exist.
    """
    name = _column(path, schema)
    if name is None:
        return None
    fields = path.removeprefix(name).split(".")[1:]
    expression, dtype = pl.col(name), schema[name]
    for position, field in enumerate(fields):
        if dtype == pl.String:
            return expression.str.json_path_match(_json_path(fields[position:]))
        if dtype == pl.Null:
            return pl.lit(None)
        try:
            expression, dtype = _step(expression, dtype, field)
        except LookupError as error:
            raise SourceError(f"{setting}: {path!r} has no field {field!r}; {error.args[0]}") from None
    return expression


def is_path_into(path: str, schema: pl.Schema, columns: Iterable[str]) -> bool:
    """Return whether a text is a path into one of `columns` that leads to no field in this schema."""
    name = _column(path, schema)
    if name not in set(columns) or name == path:
        return False
    try:
        return path_expression(path, schema, "") is None
    except SourceError:
        return True


def _leads_to_values(path: str, schema: pl.Schema) -> bool:
    try:
        return path_expression(path, schema, "") is not None
    except SourceError:
        return False


def _paths_in_sql(sql: str) -> list[str]:
    return [match["path"] for match in PATH_IN_SQL.finditer(sql) if match["path"]]


def _is_path(text: str, schema: pl.Schema) -> bool:
    """Return whether the whole text is a path; a text such as `a.b-c` is one if there is a field `b-c`."""
    name = _column(text, schema)
    if name is None or re.fullmatch(r"(?:\.[^\s.'\"()*/,;]+)*", text.removeprefix(name)) is None:
        return False
    if PATH_IN_SQL.fullmatch(text) is not None:
        return True
    return _leads_to_values(text, schema)


def _column(path: str, schema: pl.Schema) -> str | None:
    """Return the longest column name that a path starts with."""
    parts = path.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in schema), None)


def _step(expression: pl.Expr, dtype: pl.DataType, field: str) -> tuple[pl.Expr, pl.DataType]:
    """Return a field of an object, an element of a list, or the element with a key; raises `LookupError`."""
    if isinstance(dtype, pl.Struct):
        fields = _fields(dtype)
        if field not in fields:
            raise LookupError(f"the fields are {', '.join(fields)}")
        return expression.struct.field(field), fields[field]
    if not isinstance(dtype, pl.List):
        raise LookupError(f"it is of type {dtype}")
    element = dtype.inner if isinstance(dtype.inner, pl.DataType) else dtype.inner()
    if field.isdigit():
        return expression.list.get(int(field), null_on_oob=True), element
    if element == pl.Null:
        return pl.lit(None), element
    if not isinstance(element, pl.Struct) or KEY not in _fields(element) or field in _fields(element):
        raise LookupError("it is a list: set explode to read its elements, or give a position such as 0")
    with_key = pl.element().filter(pl.element().struct.field(KEY) == field)
    return expression.list.eval(with_key).list.first(), element


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {
        field.name: field.dtype if isinstance(field.dtype, pl.DataType) else field.dtype() for field in dtype.fields
    }


def _json_path(fields: Sequence[str]) -> str:
    return "$" + "".join(f"[{field}]" if field.isdigit() else f"['{field}']" for field in fields)


def _json_elements(arrays: pl.Series, cells: pl.Series) -> pl.Series:
    """Return the elements of the JSON arrays that were found in cells, as JSON text."""
    texts = cells if cells.dtype == pl.String else arrays
    elements = [
        _split_array(array) if array is not None else [] if _is_json(text) else [None]
        for array, text in zip(arrays, texts, strict=True)
    ]
    return pl.Series(arrays.name, elements, dtype=pl.List(pl.String))


def _split_array(text: str) -> list[str | None]:
    if not text.strip() or text.strip() == "null":
        return []
    try:
        return [_element(bytes(element)) for element in _ELEMENTS.decode(text)]
    except msgspec.DecodeError:
        return [text if text.lstrip().startswith("{") and _is_json(text) else None]


def _element(json: bytes) -> str | None:
    """Return an element of a JSON array: the text of a string, else its JSON."""
    if json.startswith(b'"'):
        return msgspec.json.decode(json, type=str)
    return None if json == b"null" else json.decode()


def _is_json(text: str | None) -> bool:
    try:
        return text is None or not text.strip() or _JSON.decode(text) is not None
    except msgspec.DecodeError:
        return False


def check_explode(table: Table) -> None:
    """Raise `SettingsError` for an empty `explode`."""
    if table.explode is not None and not table.explode.strip():
        raise SettingsError(f"sources.tables.{table.name}.explode = '': expected a column or a path")

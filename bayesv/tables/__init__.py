"""Tables in files: text as spreadsheets and statistics programs write it, and their own files."""

from bayesv.tables.doubts import reads_as_dates, reads_as_numbers
from bayesv.tables.read import ENDINGS, read_table
from bayesv.tables.text import read_csv

__all__ = ["ENDINGS", "read_csv", "read_table", "reads_as_dates", "reads_as_numbers"]

"""Tables in files: text as spreadsheets and statistics programs write it, and their own files."""

from bayesv.data.tables.doubts import reads_as_dates, reads_as_numbers
from bayesv.data.tables.read import ENDINGS, read_table
from bayesv.data.tables.text import read_csv
from bayesv.data.tables.write import write_table

__all__ = ["ENDINGS", "read_csv", "read_table", "reads_as_dates", "reads_as_numbers", "write_table"]

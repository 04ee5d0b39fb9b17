"""Data: sets that come with bayesv, and tables read from files."""

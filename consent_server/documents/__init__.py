"""A report as documents: the data that all of them show, the words, the chart, CSV, the signed PDF and its verification."""

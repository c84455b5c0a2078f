"""A report as documents: the data that all of them say, the words, the chart, CSV, and the signed PDF with its verification."""

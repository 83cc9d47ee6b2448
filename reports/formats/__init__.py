"""The formats of a report: HTML, Markdown and JUnit XML, each made from merged runs."""

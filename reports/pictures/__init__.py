"""The pictures of the HTML report, as SVG."""

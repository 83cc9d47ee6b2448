"""The operating system and text formats: files, JSON records, safe text, Markdown, dying with a parent. It imports `errors` only."""
